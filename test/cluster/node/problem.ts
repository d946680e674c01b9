/** Ends the program with what is wrong, and what to do. */
export function problemOf(message: string): never {
  console.error(`cluster: ${message}`);
  process.exit(69);
}
