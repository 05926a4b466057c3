"use strict";

/** The same bar, which a WebSocket updates instead of polls: `progressUrl` is the path of the socket. */
class CeleryWebSocketProgressBar extends CeleryProgressBar {
    async connect() {
        const scheme = location.protocol === "https:" ? "wss" : "ws";
        const socket = new WebSocket(`${scheme}://${location.host}${this.progressUrl}`);
        socket.onopen = () => socket.send(JSON.stringify({ type: "check_task_completion" }));
        socket.onmessage = async event => {
            const data = await this.read(new Promise(resolve => resolve(JSON.parse(event.data))));
            if (this.onData(data) !== false) {
                socket.close();
            }
        };
    }
}
