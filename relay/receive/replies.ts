/** What a session refuses for reasons that no policy has to judge: syntax, sequence, faults of ours. */
import { SpoolFull, type SpoolUnavailable } from '../spool/spool.ts';
import { type Rejection, reject } from './policy.ts';

export const UNKNOWN_COMMAND = reject(500, '5.5.2', 'unknown_command', 'command not recognized');
export const MALFORMED_LINE = reject(
  500,
  '5.5.2',
  'malformed_line',
  'a command is UTF-8 text without control characters',
);
/** RFC 5321 2.3.8: CR and LF stand in a command only together, at its end. */
export const BARE_LINE_END = reject(500, '5.5.2', 'bare_line_end', 'a line ends with CR LF');
export const COMMAND_TOO_LONG = reject(500, '5.5.2', 'command_too_long', 'command line too long');
/** RFC 4954 4. */
export const AUTH_TOO_LONG = reject(500, '5.5.6', 'auth_line_too_long', 'authentication line too long');
export const BAD_ARGUMENT = reject(501, '5.5.4', 'bad_argument', 'wrong or missing argument');
export const BAD_HELLO = reject(501, '', 'bad_argument', 'give one host name or address literal');
export const NOT_IMPLEMENTED = reject(502, '5.5.1', 'not_implemented', 'command not implemented');
export const ALREADY_UNDER_TLS = reject(503, '5.5.1', 'bad_sequence', 'TLS is in use already');
export const NESTED_MAIL = reject(503, '5.5.1', 'bad_sequence', 'a message has begun already');
export const MAIL_FIRST = reject(503, '5.5.1', 'bad_sequence', 'send MAIL first');
export const RCPT_FIRST = reject(503, '5.5.1', 'bad_sequence', 'no recipient was accepted');
export const IN_TRANSACTION = reject(503, '5.5.1', 'bad_sequence', 'not while a message is being sent');

export const UNKNOWN_MECHANISM = reject(504, '5.5.4', 'unknown_mechanism', 'authentication mechanism not supported');
/** RFC 4954 4. */
export const AUTH_CANCELLED = reject(501, '5.7.0', 'auth_cancelled', 'authentication cancelled');
export const AUTH_MALFORMED = reject(501, '5.5.2', 'auth_malformed', 'cannot decode the response');
export const WRONG_CREDENTIALS = reject(535, '5.7.8', 'wrong_credentials', 'wrong user name or password');
export const AUTH_BUSY = reject(454, '4.7.0', 'auth_busy', 'too many authentications at once, try again');
/** Temporary, since the client may be one with an old password that is about to get the new one. */
export const AUTH_LIMITED = reject(
  454,
  '4.7.0',
  'auth_limited',
  'too many wrong passwords from your address, try again in some minutes',
);
export const TOO_MANY_AUTH_FAILURES = reject(421, '4.7.0', 'too_many_auth_failures', 'too many failed authentications');

export const TOO_MANY_ERRORS = reject(421, '4.7.0', 'too_many_errors', 'too many commands that are none');
/** While the replica is full. */
export const CROWDED_OUT = reject(
  421,
  '4.3.2',
  'crowded_out',
  'too many connections, and this one waits; connect again',
);
export const IDLE = reject(421, '4.4.2', 'idle', 'nothing came for too long');
export const ENDLESS_MESSAGE = reject(
  421,
  '4.3.4',
  'endless_message',
  'the message goes on far beyond the size allowed',
);
export const SPOOL_FULL = reject(452, '4.3.1', 'spool_full', 'the queue has no room for new mail now, try again later');
export const SPOOL_UNAVAILABLE = reject(451, '4.3.0', 'spool_unavailable', 'the queue cannot take mail now, try again');
export const INTERNAL_ERROR = reject(451, '4.3.0', 'internal_error', 'an error of this server, try again');

export const spoolRejection = (error: SpoolUnavailable): Rejection =>
  error instanceof SpoolFull ? SPOOL_FULL : SPOOL_UNAVAILABLE;
