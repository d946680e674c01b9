/** The sessions that are open, over all listeners of the replica: how many, and how many of each client. */
export class Crowd {
  readonly #ofClient = new Map<string, number>();
  #all = 0;

  get all(): number {
    return this.#all;
  }

  /** @param client its network (networks.ts) */
  of(client: string): number {
    return this.#ofClient.get(client) ?? 0;
  }

  enter(client: string): void {
    this.#all += 1;
    this.#ofClient.set(client, this.of(client) + 1);
  }

  leave(client: string): void {
    this.#all -= 1;
    const left = this.of(client) - 1;
    if (left > 0) this.#ofClient.set(client, left);
    else this.#ofClient.delete(client);
  }
}
