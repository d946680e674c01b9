/** A command that cannot do what it was asked: the message says what to do, and the exit code says of what sort it is. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failure) {
    super(message);
    this.exitCode = exitCode;
  }
}

export const EXIT = {
  /** It was tried and did not succeed. */
  failure: 1,
  /** The command line is wrong. */
  usage: 2,
  /** What it needs is not there (EX_UNAVAILABLE of sysexits). */
  unavailable: 69,
} as const;
