"use strict";

/**
 * Asks an address how a task stands until it is done, and shows that in elements of the page:
 *
 *     CeleryProgressBar.initProgressBar("/celery-progress/<task id>/", { pollInterval: 1000 });
 *
 * Every callback is called as a method of the bar.
 */
class CeleryProgressBar {
    constructor(progressUrl, options) {
        const given = options || {};
        const element = (name, id) =>
            given[`${name}Element`] || document.getElementById(given[`${name}Id`] || id);

        this.progressUrl = progressUrl;
        this.progressBarElement = element("progressBar", "progress-bar");
        this.progressBarMessageElement = element("progressBarMessage", "progress-bar-message");
        // The option with the id of this one is named in another way.
        this.resultElement = given.resultElement || document.getElementById(given.resultElementId || "celery-result");

        for (const event of ["Progress", "Success", "Error", "TaskError", "Retry", "Ignored", "Result"]) {
            this[`on${event}`] = given[`on${event}`] || this[`on${event}Default`];
        }
        for (const event of ["DataError", "NetworkError", "HttpError"]) {
            this[`on${event}`] = given[`on${event}`] || this.onError;
        }

        this.pollInterval = given.pollInterval || 500; // milliseconds
        this.maxNetworkRetryAttempts = given.maxNetworkRetryAttempts || 5;
        this.barColors = { ...this.constructor.getBarColorsDefault(), ...given.barColors };
        this.messages = {
            waiting: "Waiting for task to start...",
            started: "Task started...",
            ...given.defaultMessages,
        };
    }

    static getBarColorsDefault() {
        return { success: "#76ce60", error: "#dc4f63", progress: "#68a9ef", ignored: "#7a7a7a" };
    }

    static initProgressBar(progressUrl, options) {
        new this(progressUrl, options).connect();
    }

    // ---- default callbacks

    onProgressDefault(bar, message, progress) {
        if (bar) {
            bar.style.backgroundColor = this.barColors.progress;
            bar.style.width = `${progress.percent}%`;
        }
        if (progress.current == 0) {
            CeleryProgressBar.#write(message, progress.pending === true ? this.messages.waiting : this.messages.started);
        } else {
            const count = `${progress.current} of ${progress.total} processed.`;
            CeleryProgressBar.#write(message, `${count} ${progress.description || ""}`);
        }
    }

    onSuccessDefault(bar, message, result) {
        CeleryProgressBar.#paint(bar, this.barColors.success);
        CeleryProgressBar.#write(message, `Success! ${this.getMessageDetails(result)}`);
    }

    onResultDefault(element, result) {
        CeleryProgressBar.#write(element, result);
    }

    /** Shows any error; `response` is there for those of HTTP only. */
    onErrorDefault(bar, message, text, response) {
        CeleryProgressBar.#paint(bar, this.barColors.error);
        CeleryProgressBar.#write(message, `Uh-Oh, something went wrong! ${text || ""}`);
    }

    onTaskErrorDefault(bar, message, text) {
        this.onError(bar, message, this.getMessageDetails(text));
    }

    onRetryDefault(bar, message, text, seconds) {
        CeleryProgressBar.#paint(bar, this.barColors.error);
        CeleryProgressBar.#write(message, `Retrying after ${seconds}s: ${text}`);
    }

    onIgnoredDefault(bar, message, result) {
        CeleryProgressBar.#paint(bar, this.barColors.ignored);
        CeleryProgressBar.#write(message, result || "Task result ignored!");
    }

    /** Returns the message for a result: none where a separate element shows it. */
    getMessageDetails(result) {
        return this.resultElement ? "" : result || "";
    }

    static #paint(element, color) {
        if (element) {
            element.style.backgroundColor = color;
        }
    }

    static #write(element, text) {
        if (element) {
            element.textContent = text;
        }
    }

    // ---- incoming answers

    /** Calls the callbacks; returns true once the task is done, false before, undefined for an unreadable answer. */
    onData(data) {
        if (data.progress) {
            this.notify("onProgress", data.progress);
        }
        if (data.complete === true) {
            return this.onComplete(data);
        }
        if (data.complete === undefined) {
            this.notify("onDataError", "Data Error");
            return undefined;
        }
        return false;
    }

    onComplete(data) {
        if (data.success === false && data.state === "RETRY") {
            this.notify("onRetry", data.result.message, data.result.next_retry_seconds);
            return false;
        }
        const ignored = data.success !== true && data.success !== false && data.state === "IGNORED";
        if (ignored) {
            this.notify("onIgnored", data.result);
            return true;
        }
        const known = data.success === true || data.success === false;
        if (known) {
            this.notify(data.success ? "onSuccess" : "onTaskError", data.result);
        } else {
            this.notify("onDataError", "Data Error");
        }
        if (Object.hasOwn(data, "result")) {
            this.onResult(this.resultElement, data.result);
        }
        return known ? true : undefined;
    }

    notify(callback, ...values) {
        this[callback](this.progressBarElement, this.progressBarMessageElement, ...values);
    }

    // ---- the connection

    async connect() {
        const response = await this.ask();
        if (response.status !== 200) {
            this.notify("onHttpError", `HTTP Code ${response.status}`, response);
            return;
        }
        if (this.onData(await this.read(response.json())) === false) {
            setTimeout(() => this.connect(), this.pollInterval);
        }
    }

    /** Returns the answer of the server; reports each attempt that did not reach it, and throws after the last. */
    async ask() {
        for (let attempt = 1; ; attempt++) {
            try {
                return await fetch(this.progressUrl);
            } catch (error) {
                this.notify("onNetworkError", "Network Error");
                await new Promise(resolve => setTimeout(resolve, 1000));
                if (attempt >= this.maxNetworkRetryAttempts) {
                    throw error;
                }
            }
        }
    }

    /** Returns the parsed answer; reports an invalid one, and throws. */
    async read(parsed) {
        try {
            return await parsed;
        } catch (error) {
            this.notify("onDataError", "Parsing Error");
            throw error;
        }
    }
}
