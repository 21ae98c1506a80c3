// Of the interfaces that the world imports, what this project uses.

declare module "wasi:config/store@0.2.0-rc.1" {
  const store: { getAll(): [string, string][] };
  export default store;
}
