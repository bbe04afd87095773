// The package has types that its exports do not name.
declare module "fake-indexeddb/auto";
