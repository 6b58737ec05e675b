/*
 * The least that a broadcast can cost: one bare send() per connection, in C, and nothing else.
 *
 * floor PORT listens on 127.0.0.1. Every connection is a receiver until it sends something: then it is the
 * publisher. What a publisher sends is 4 bytes of length (big endian) and a frame, which goes to all receivers.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 65536
#define MAX_INBOX (1 << 20)
#define MAX_READY 256

static int receivers[MAX_FDS], place[MAX_FDS], count;
static uint8_t inbox[MAX_INBOX];
static size_t filled;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void add(int fd) {
    place[fd] = count;
    receivers[count++] = fd;
}

static void drop(int fd) {
    if (place[fd] < 0) return;
    int last = receivers[--count];
    receivers[place[fd]] = last;
    place[last] = place[fd];
    place[fd] = -1;
}

/* A receiver whose buffer is full is waited for: a frame is never lost, as it is not in a real server. */
static void send_all(int fd, const uint8_t *frame, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, frame, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            frame += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, 1000);
        } else {
            return;
        }
    }
}

static void publish(void) {
    size_t used = 0;
    while (filled - used >= 4) {
        uint32_t size;
        memcpy(&size, inbox + used, 4);
        size = ntohl(size);
        if (size > MAX_INBOX - 4) die("frame too large");
        if (filled - used - 4 < size) break;
        for (int i = 0; i < count; i++) send_all(receivers[i], inbox + used + 4, size);
        used += 4 + size;
    }
    memmove(inbox, inbox + used, filled - used);
    filled -= used;
}

static void readable(int fd) {
    ssize_t got = recv(fd, inbox + filled, MAX_INBOX - filled, MSG_DONTWAIT);
    if (got > 0) {
        drop(fd);
        filled += (size_t)got;
        publish();
    } else if (got == 0 || errno != EAGAIN) {
        drop(fd);
        close(fd);
    }
}

static void accept_all(int listener, int epoll) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= MAX_FDS) die("too many connections");
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
        add(fd);
    }
}

static int listen_on(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0) die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind");
    if (listen(listener, 1024) < 0) die("listen");
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int listener = listen_on(atoi(argv[1])), epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) die("epoll_create1");
    memset(place, -1, sizeof place);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[MAX_READY];
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (;;) {
        int found = epoll_wait(epoll, ready, MAX_READY, -1);
        if (found < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < found; i++) {
            if (ready[i].data.fd == listener) accept_all(listener, epoll);
            else readable(ready[i].data.fd);
        }
    }
}
