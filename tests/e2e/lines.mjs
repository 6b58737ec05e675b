/** Commands as JSON lines on stdin, one answer each on stdout: {id, do, ...} -> {id, value} or {id, error}. */

import { createInterface } from "node:readline";

const TIMEOUT_MS = 10_000;

/** Serve `commands`, an object of functions that take the command's fields, until stdin ends; then call `finish`. */
export function serve(commands, finish = () => {}) {
  const input = createInterface({ input: process.stdin });
  input.on("line", async (line) => {
    const { id, do: name, ...fields } = JSON.parse(line);
    let answer;
    try {
      if (!Object.hasOwn(commands, name)) throw new Error(`no such command: ${name}`);
      answer = { id, value: (await commands[name](fields)) ?? null };
    } catch (error) {
      answer = { id, error: String(error?.message ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  });
  input.on("close", async () => {
    await finish();
    process.exit(0);
  });
}

/** The first true value of `probe`, tried now and whenever `changes(listener)` calls. Fails after `ms`, saying `what()`. */
export function until(probe, { changes, what, ms = TIMEOUT_MS }) {
  return new Promise((resolve, reject) => {
    const check = () => {
      const value = probe();
      if (!value) return;
      stop();
      resolve(value);
    };
    const forget = changes(check);
    const timer = setTimeout(() => {
      stop();
      reject(new Error(`${what()} (after ${ms} ms)`));
    }, ms);
    const stop = () => {
      clearTimeout(timer);
      forget();
    };
    check();
  });
}
