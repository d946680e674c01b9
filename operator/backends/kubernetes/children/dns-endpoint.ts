/**
 * The DNSEndpoint by which external-dns publishes records of a domain. External-dns reads TXT records of them when it is
 * run with `--source=crd --managed-record-types=TXT`.
 *
 * Where keys outlive their MailDomain, so do their records: only where the keys are deleted with it is the MailDomain
 * the owner, and garbage collection takes the records away.
 */
import { API_VERSION } from '../../../../crds/common.ts';
import type { Publication } from '../../../backend.ts';
import { recordData } from '../../../dns/zone.ts';
import type { ApiKind, ApiObject } from '../api.ts';
import { LABELS, MANAGER } from './identity.ts';

export const DNS_ENDPOINT: ApiKind = {
  group: 'externaldns.k8s.io',
  version: 'v1alpha1',
  kind: 'DNSEndpoint',
  plural: 'dnsendpoints',
};

export function dnsEndpoint({ namespace, name, owner, records, ttlSeconds, outlives }: Publication): ApiObject {
  const byName = Map.groupBy(records, ({ type, name: owned }) => `${type} ${owned}`);
  return {
    apiVersion: `${DNS_ENDPOINT.group}/${DNS_ENDPOINT.version}`,
    kind: DNS_ENDPOINT.kind,
    metadata: {
      namespace,
      name,
      labels: {
        'app.kubernetes.io/name': 'chasqui',
        'app.kubernetes.io/instance': owner.name,
        [LABELS.managedBy]: MANAGER,
        [LABELS.ownerKind]: owner.kind,
        [LABELS.ownerName]: owner.name,
        [LABELS.ownerUid]: owner.uid,
      },
      ...(!outlives && {
        ownerReferences: [{ apiVersion: API_VERSION, kind: owner.kind, name: owner.name, uid: owner.uid }],
      }),
    },
    spec: {
      endpoints: [...byName.values()].flatMap((group) => {
        const [first] = group;
        return first
          ? [
              {
                dnsName: first.name,
                recordType: first.type,
                recordTTL: ttlSeconds,
                // Text as a zone file has it: quoted, and cut where it is longer than one string can be.
                targets: group.map(recordData),
              },
            ]
          : [];
      }),
    },
  };
}
