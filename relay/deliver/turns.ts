/**
 * Destinations that wait for their first attempt. The senders of what they hold take turns: one who has mail for ten
 * thousand destinations delays a message of another by one attempt, not by ten thousand.
 */
export class Turns<Queue extends { readonly nextSender: string | undefined }> {
  /** In the order in which senders have their turn. */
  readonly #bySender = new Map<string, Set<Queue>>();
  readonly #senderOf = new Map<Queue, string>();

  add(queue: Queue): void {
    const sender = queue.nextSender;
    if (sender === undefined || this.#senderOf.has(queue)) return;
    this.#senderOf.set(queue, sender);
    const own = this.#bySender.get(sender);
    if (own) own.add(queue);
    else this.#bySender.set(sender, new Set([queue]));
  }

  delete(queue: Queue): void {
    const sender = this.#senderOf.get(queue);
    if (sender === undefined) return;
    this.#senderOf.delete(queue);
    const own = this.#bySender.get(sender);
    own?.delete(queue);
    if (own?.size === 0) this.#bySender.delete(sender);
  }

  shift(): Queue | undefined {
    const [next] = this.#bySender;
    if (!next) return undefined;
    const [sender, own] = next;
    const [queue] = own;
    this.#bySender.delete(sender);
    if (!queue) return undefined;
    own.delete(queue);
    this.#senderOf.delete(queue);
    if (own.size > 0) this.#bySender.set(sender, own);
    return queue;
  }
}
