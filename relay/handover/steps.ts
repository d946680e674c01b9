/** The steps of a hand-over, each told just after it was done: tests end the process there. */

export type Step =
  /** Source: the mark is durable. */
  | 'marked'
  /** Source: the message is on its way, not answered yet. */
  | 'sent'
  /** Source: the peer has said that it has the message. */
  | 'answered'
  /** Source: message and mark are gone. */
  | 'finished'
  /** Source: the peer was told. */
  | 'told'
  /** Peer: all of the message has come in; nothing is stored. */
  | 'received'
  /** Peer: message and ledger entry are durable; nothing is answered. */
  | 'adopted'
  /** Peer: ledger entries are gone; nothing is answered. */
  | 'forgotten';

export type OnStep = (step: Step) => void;
