/**
 * A headless Chromium under remote control. A command names a page and a Playwright method of it with its arguments.
 *
 * Each page has a context of its own, as a second person's browser has. What must not happen on a page is kept:
 * console errors, uncaught exceptions, violations of the content security policy, and the hosts that it talked to.
 */

import { chromium } from "playwright-core";
import { serve } from "./lines.mjs";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
const TIMEOUT_MS = 10_000;
const POLL_MS = 20;
const pages = new Map();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS });

function found(name) {
  const page = pages.get(name);
  if (!page) throw new Error(`no page ${name}`);
  return page;
}

const commands = {
  /** Open an empty page; `options` are those of a browser context, such as viewport. */
  async open({ name, options }) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(TIMEOUT_MS);
    const page = await context.newPage();
    const seen = { errors: [], hosts: new Set() };
    pages.set(name, { page, seen });
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) =>
        console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`),
      );
    });
    page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    for (const kind of ["request", "websocket"]) {
      page.on(kind, (one) => {
        const { protocol, host } = new URL(one.url());
        if (protocol !== "data:") seen.hosts.add(host);
      });
    }
  },

  /** page[method](...args); what it returns must be JSON, or nothing. */
  async page({ name, method, args }) {
    const value = await found(name).page[method](...args);
    return ["string", "number", "boolean"].includes(typeof value) ? value : null;
  },

  evaluate: ({ name, script, argument }) => found(name).page.evaluate(`(${script})(${JSON.stringify(argument ?? null)})`),

  /** Wait until a function of one JSON argument returns something true in the page. Asks from outside: the page's
   * content security policy forbids evaluating strings inside. */
  async until({ name, script, argument, what }) {
    const deadline = Date.now() + TIMEOUT_MS;
    while (!(await commands.evaluate({ name, script, argument }))) {
      if (Date.now() > deadline) throw new Error(`${what} (after ${TIMEOUT_MS} ms)`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  },

  /** Close every page, as people do who leave. */
  async close() {
    await Promise.all(Array.from(pages.values(), ({ page }) => page.context().close()));
    pages.clear();
  },

  seen({ name }) {
    const { errors, hosts } = found(name).seen;
    return { errors, hosts: [...hosts] };
  },
};

serve(commands, () => browser.close());
