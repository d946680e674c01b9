/** The Lease of the operators as an object of the API (coordination.k8s.io/v1). */
import Type from 'typebox';
import Schema from 'typebox/schema';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { LeaseRecord, LeaseStore, StoredLease } from '../../runtime/lease.ts';
import type { ApiKind, KubernetesApi, LiveObject } from './api.ts';
import { NotFound } from './api-error.ts';

const LEASE: ApiKind = { group: 'coordination.k8s.io', version: 'v1', kind: 'Lease', plural: 'leases' };

const Spec = Schema.Compile(
  Type.Object({
    holderIdentity: Type.Optional(Type.String()),
    leaseDurationSeconds: Type.Optional(Type.Number()),
    acquireTime: Type.Optional(Type.String()),
    renewTime: Type.Optional(Type.String()),
    leaseTransitions: Type.Optional(Type.Number()),
  }),
);

/** metav1.MicroTime: exactly six fractional digits, or an API server refuses it. */
export const microTime = (ms: number): string => new Date(ms).toISOString().replace(/\.(\d{3})Z$/, '.$1000Z');

export const leaseStore = (api: Pick<KubernetesApi, 'get' | 'create' | 'patch'>, key: ObjectKey): LeaseStore => ({
  async read() {
    try {
      return recordOf(await api.get(LEASE, key));
    } catch (error) {
      if (error instanceof NotFound) return undefined;
      throw error;
    }
  },

  async write(record, replaced) {
    const spec = specOf(record);
    if (replaced !== undefined) {
      return recordOf(await api.patch(LEASE, key, { metadata: { resourceVersion: replaced }, spec }));
    }
    return recordOf(
      await api.create(LEASE, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { ...key }, spec }),
    );
  },
});

const specOf = ({ holder, durationMs, acquiredMs, renewedMs, transitions }: LeaseRecord) => ({
  holderIdentity: holder,
  leaseDurationSeconds: Math.ceil(durationMs / 1_000),
  acquireTime: microTime(acquiredMs),
  renewTime: microTime(renewedMs),
  leaseTransitions: transitions,
});

/** What another left out, or wrote otherwise, is as if it held nothing. */
function recordOf({ metadata, spec }: LiveObject): StoredLease {
  const told = Spec.Check(spec) ? spec : {};
  return {
    version: metadata.resourceVersion,
    holder: told.holderIdentity ?? '',
    durationMs: (told.leaseDurationSeconds ?? 0) * 1_000,
    acquiredMs: Date.parse(told.acquireTime ?? '') || 0,
    renewedMs: Date.parse(told.renewTime ?? '') || 0,
    transitions: told.leaseTransitions ?? 0,
  };
}
