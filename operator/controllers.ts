/** All controllers, in the order in which their kinds depend on each other. */
import { mailDomainController } from './maildomain/controller.ts';
import type { AnyController } from './runtime/run-controllers.ts';
import { smtpRelayController } from './smtprelay/controller.ts';
import { smtpUserController } from './smtpuser/controller.ts';

export const CONTROLLERS: readonly AnyController[] = [smtpRelayController, mailDomainController, smtpUserController];
