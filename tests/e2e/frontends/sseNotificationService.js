/**
 * The notifications frontend's event stream, as its document writes it: the first error ends it for good. Browsers know
 * no `headers` of an EventSource, so a cookie has to say who it is.
 */

export class SSENotificationService {
  eventSource = null;
  heard = [];

  constructor(apiUrl, authService) {
    this.apiUrl = apiUrl;
    this.authService = authService;
  }

  connect() {
    const token = this.authService.getToken();
    if (!token) return;

    this.eventSource = new EventSource(`${this.apiUrl}/notifications/events`, {
      headers: {
        Authorization: `Bearer ${token}`,
      },
    });

    this.eventSource.onmessage = (event) => {
      const data = JSON.parse(event.data);
      this.handleEvent(data);
    };

    this.eventSource.onerror = () => {
      this.disconnect();
    };
  }

  handleEvent(data) {
    this.heard.push(data);
  }

  disconnect() {
    this.eventSource?.close();
    this.eventSource = null;
  }
}
