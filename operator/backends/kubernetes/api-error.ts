/** What an API server refuses, by what a caller does about it. */

/** metav1.Status, as far as it is read. */
export interface StatusDetails {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly causes?: readonly { readonly reason?: string; readonly field?: string }[];
  readonly retryAfterSeconds?: number;
}

export class ApiError extends Error {
  override readonly name: string = 'ApiError';
}

/** It is not there, or its kind is not served. */
export class NotFound extends ApiError {
  override readonly name = 'NotFound';
}

/** Another wrote it in between, or holds the field: read again, then decide again. */
export class Conflict extends ApiError {
  override readonly name = 'Conflict';
}

export class AlreadyExists extends ApiError {
  override readonly name = 'AlreadyExists';
}

/** The version to watch or list from is too old: list anew. */
export class Gone extends ApiError {
  override readonly name = 'Gone';
}

/** We may not, or nobody may: a role, an admission policy, or a namespace that is being deleted says so. */
export class Forbidden extends ApiError {
  override readonly name = 'Forbidden';
  /** Nothing can be created any more where all is being deleted. */
  readonly namespaceTerminating: boolean;

  constructor(message: string, namespaceTerminating = false) {
    super(message);
    this.namespaceTerminating = namespaceTerminating;
  }
}

/** Later: the API server has too much to do. Nothing was done. */
export class Throttled extends ApiError {
  override readonly name = 'Throttled';
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number) {
    super(message);
    this.retryAfterMs = retryAfterMs;
  }
}

/** No answer, or one that says the API server failed: whether it was done is unknown. */
export class Unavailable extends ApiError {
  override readonly name = 'Unavailable';
}

/** The object is wrong, by its schema or its rules: to ask again as it is is useless. */
export class Invalid extends ApiError {
  override readonly name = 'Invalid';
}

/** How long a server that says "later" without saying when is left alone (ms). */
const LATER_MS = 1_000;

/**
 * @param asked what was asked, such as `PATCH /api/v1/...`
 * @param status of the body, or of the ERROR event of a watch
 */
export function apiError(asked: string, code: number, status: StatusDetails, retryAfter?: string): ApiError {
  const message = `${asked}: ${code}${status.reason ? ` ${status.reason}` : ''}: ${status.message ?? 'no message'}`;
  const retryAfterSeconds = status.retryAfterSeconds ?? Number(retryAfter ?? Number.NaN);
  switch (code) {
    case 401:
    case 403: {
      return new Forbidden(message, status.causes?.some(({ reason }) => reason === 'NamespaceTerminating') ?? false);
    }
    case 404:
      return new NotFound(message);
    case 409:
      return status.reason === 'AlreadyExists' ? new AlreadyExists(message) : new Conflict(message);
    case 410:
      return new Gone(message);
    case 429:
      return new Throttled(message, Number.isFinite(retryAfterSeconds) ? retryAfterSeconds * 1_000 : LATER_MS);
    default:
      return code >= 500 ? new Unavailable(message) : new Invalid(message);
  }
}
