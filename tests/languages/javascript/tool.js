// The conformance project in JavaScript. `wit/probe.wit` says what each function is for.

import config from "wasi:config/store@0.2.0-rc.1";
import preopens from "wasi:filesystem/preopens@0.2.12";
import keyvalue from "wasi:keyvalue/store@0.2.0-draft";

let count = 0;

const problem = (tag, val) => ({ tag, val });

/** Which case of its interface's `error` an import threw. */
const thrownCase = (error) => error.payload?.tag;

/** What `call` returns. Errors of the interfaces that it uses become a `problem`. */
function access(call) {
  try {
    return call();
  } catch (error) {
    const denied = thrownCase(error) === "access-denied";
    throw denied ? problem("failed", "access denied") : problem("unavailable", "no answer");
  }
}

// QuickJS has neither TextDecoder nor TextEncoder.

function decode(bytes) {
  return decodeURIComponent(bytes.map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
}

function encode(text) {
  const escaped = encodeURIComponent(text).match(/%..|[^%]/g) ?? [];
  return Uint8Array.from(escaped, (part) => (part.length === 1 ? part.charCodeAt(0) : parseInt(part.slice(1), 16)));
}

/** All bytes of an input stream, as text. */
function readAll(stream) {
  const bytes = [];
  while (true) {
    try {
      bytes.push(...stream.blockingRead(1 << 12));
    } catch (error) {
      if (thrownCase(error) === "closed") {
        return decode(bytes);
      }
      throw error;
    }
  }
}

export const probe = {
  add: (a, b) => (a + b) | 0,

  echo(item) {
    if (item.name === "") {
      throw problem("invalid-input", "`name` is empty");
    }
    return item;
  },

  counter() {
    count += 1;
    return count;
  },

  crash() {
    throw new Error("a crash on purpose");
  },

  spin() {
    while (true);
  },

  hoard(mebibytes) {
    return Array.from({ length: mebibytes }, () => new Uint8Array(1 << 20).fill(1)).length;
  },

  readFile(path) {
    for (const [folder, at] of preopens.getDirectories()) {
      if (path.startsWith(`${at}/`)) {
        try {
          const file = folder.openAt({}, path.slice(at.length + 1), {}, { read: true });
          return readAll(file.readViaStream(0));
        } catch (error) {
          throw problem("failed", String(error));
        }
      }
    }
    throw problem("failed", "no folder is granted there");
  },

  remember(key, value) {
    access(() => keyvalue.open("").set(key, encode(value)));
  },

  recall(key) {
    const value = access(() => keyvalue.open("").get(key));
    return value === null ? null : decode([...value]);
  },

  setting: (key) => access(() => config.get(key)),

  fetch() {
    throw problem("failed", "componentize-qjs can't import wasi:http");
  },
};
