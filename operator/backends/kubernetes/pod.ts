/** What is read of a pod: checked where it enters, since a cluster may be older or newer than this program. */
import Type from 'typebox';
import Schema from 'typebox/schema';
import type { LiveObject } from './api.ts';
import { ANNOTATIONS, LABELS, ordinalOf } from './children/identity.ts';

const ContainerState = Type.Object({
  waiting: Type.Optional(Type.Object({ reason: Type.Optional(Type.String()), message: Type.Optional(Type.String()) })),
  terminated: Type.Optional(
    Type.Object({ reason: Type.Optional(Type.String()), exitCode: Type.Optional(Type.Integer()) }),
  ),
});

const PodStatus = Schema.Compile(
  Type.Object({
    podIP: Type.Optional(Type.String()),
    conditions: Type.Optional(
      Type.Array(
        Type.Object({
          type: Type.String(),
          status: Type.String(),
          reason: Type.Optional(Type.String()),
          message: Type.Optional(Type.String()),
        }),
      ),
    ),
    containerStatuses: Type.Optional(
      Type.Array(
        Type.Object({
          name: Type.String(),
          containerID: Type.Optional(Type.String()),
          restartCount: Type.Optional(Type.Integer()),
          started: Type.Optional(Type.Boolean()),
          state: Type.Optional(ContainerState),
          lastState: Type.Optional(ContainerState),
        }),
      ),
    ),
  }),
);

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly ordinal: number;
  readonly deleting: boolean;
  /** Whether something would start it again. */
  readonly controlled: boolean;
  readonly acceptsMail: string | undefined;
  readonly refresh: string | undefined;
  readonly ip?: string;
  readonly ready: boolean;
  /** Why it has no node. */
  readonly unscheduled?: string;
  readonly relay?: {
    /** Of this start of the container. */
    readonly id: string | undefined;
    readonly restarts: number;
    readonly started: boolean;
    readonly waiting?: { readonly reason: string; readonly message: string };
    /** How it ended the last time. */
    readonly ended?: { readonly reason: string; readonly exitCode: number | undefined };
  };
}

/** Undefined for a pod that is no replica. */
export function podOf({ metadata, status }: LiveObject): Pod | undefined {
  const ordinal = ordinalOf(metadata.name);
  if (ordinal === undefined) return undefined;
  const told = PodStatus.Check(status) ? status : {};
  const condition = (type: string) => told.conditions?.find((candidate) => candidate.type === type);
  const scheduled = condition('PodScheduled');
  const container = told.containerStatuses?.find(({ name }) => name === 'relay');
  const waiting = container?.state?.waiting;
  const ended = container?.state?.terminated ?? container?.lastState?.terminated;
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    ordinal,
    deleting: metadata.deletionTimestamp !== undefined,
    controlled: metadata.ownerReferences?.some(({ controller }) => controller === true) ?? false,
    acceptsMail: metadata.labels?.[LABELS.acceptsMail],
    refresh: metadata.annotations?.[ANNOTATIONS.refresh],
    ...(told.podIP && { ip: told.podIP }),
    ready: condition('Ready')?.status === 'True',
    ...(scheduled?.status === 'False' && {
      unscheduled: scheduled.message ?? scheduled.reason ?? 'no reason is given',
    }),
    ...(container && {
      relay: {
        id: container.containerID,
        restarts: container.restartCount ?? 0,
        started: container.started ?? false,
        ...(waiting?.reason && { waiting: { reason: waiting.reason, message: waiting.message ?? '' } }),
        ...(ended && { ended: { reason: ended.reason ?? 'Error', exitCode: ended.exitCode } }),
      },
    }),
  };
}
