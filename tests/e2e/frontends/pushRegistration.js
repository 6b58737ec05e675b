/** The dashboard frontend's registration for pushes, as its document writes it, with the token that it was given. */

export async function registerPushNotifications(api, jwt, token) {
  const response = await fetch(`${api}/api/notifications/device-token`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Authorization: `Bearer ${jwt}`,
    },
    body: JSON.stringify({ token }),
  });
  return response.ok;
}
