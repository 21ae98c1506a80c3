// Of the interfaces that the world imports, what this project uses.

declare module "wasi:config/store@0.2.0-rc.1" {
  const store: { get(key: string): string | null };
  export default store;
}

declare module "wasi:filesystem/preopens@0.2.12" {
  export interface InputStream {
    blockingRead(length: number): Iterable<number>;
  }

  export interface Descriptor {
    openAt(follow: object, path: string, create: object, access: { read: boolean }): Descriptor;
    readViaStream(offset: number): InputStream;
  }

  const preopens: { getDirectories(): [Descriptor, string][] };
  export default preopens;
}

declare module "wasi:keyvalue/store@0.2.0-draft" {
  export interface Bucket {
    get(key: string): Iterable<number> | null;
    set(key: string, value: Uint8Array): void;
  }

  const store: { open(identifier: string): Bucket };
  export default store;
}
