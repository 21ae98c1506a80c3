// The conformance project in TypeScript. `wit/probe.wit` says what each function is for.

import config from "wasi:config/store@0.2.0-rc.1";
import preopens, { type InputStream } from "wasi:filesystem/preopens@0.2.12";
import keyvalue from "wasi:keyvalue/store@0.2.0-draft";

interface Item {
  name: string;
  amount: number | null;
  tags: string[];
  shade: "light" | "dark";
}

type Problem = { tag: "invalid-input" | "unavailable" | "failed"; val: string };

let count = 0;

function problem(tag: Problem["tag"], val: string): Problem {
  return { tag, val };
}

/** Which case of its interface's `error` an import threw. */
function thrownCase(error: unknown): string | undefined {
  return (error as { payload?: { tag?: string } }).payload?.tag;
}

/** What `call` returns. Errors of the interfaces that it uses become a `problem`. */
function access<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    const denied = thrownCase(error) === "access-denied";
    throw denied ? problem("failed", "access denied") : problem("unavailable", "no answer");
  }
}

// QuickJS has neither TextDecoder nor TextEncoder.

function decode(bytes: number[]): string {
  return decodeURIComponent(bytes.map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
}

function encode(text: string): Uint8Array {
  const escaped = encodeURIComponent(text).match(/%..|[^%]/g) ?? [];
  return Uint8Array.from(escaped, (part) => (part.length === 1 ? part.charCodeAt(0) : parseInt(part.slice(1), 16)));
}

/** All bytes of an input stream, as text. */
function readAll(stream: InputStream): string {
  const bytes: number[] = [];
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
  add: (a: number, b: number): number => (a + b) | 0,

  echo(item: Item): Item {
    if (item.name === "") {
      throw problem("invalid-input", "`name` is empty");
    }
    return item;
  },

  counter(): number {
    count += 1;
    return count;
  },

  crash(): void {
    throw new Error("a crash on purpose");
  },

  spin(): void {
    while (true);
  },

  hoard(mebibytes: number): number {
    return Array.from({ length: mebibytes }, () => new Uint8Array(1 << 20).fill(1)).length;
  },

  readFile(path: string): string {
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

  remember(key: string, value: string): void {
    access(() => keyvalue.open("").set(key, encode(value)));
  },

  recall(key: string): string | null {
    const value = access(() => keyvalue.open("").get(key));
    return value === null ? null : decode([...value]);
  },

  setting: (key: string): string | null => access(() => config.get(key)),

  fetch(): string {
    throw problem("failed", "componentize-qjs can't import wasi:http");
  },
};
