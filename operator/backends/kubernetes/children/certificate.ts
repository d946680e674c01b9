/** Asks cert-manager for the relay's certificate, in a Secret that we may read. */
import type { CertificateRequest, RelayGroup } from '../../../backend.ts';
import { REFERENCE_LABEL } from '../../../backend.ts';
import type { ApiObject } from '../api.ts';
import { meta } from './identity.ts';

export const certificate = (group: RelayGroup, { secretName, names, issuer }: CertificateRequest): ApiObject => ({
  apiVersion: 'cert-manager.io/v1',
  kind: 'Certificate',
  metadata: meta(group, group.name),
  spec: {
    secretName,
    secretTemplate: { labels: { [REFERENCE_LABEL]: 'true' } },
    dnsNames: [...names],
    issuerRef: issuer,
    privateKey: { algorithm: 'ECDSA', size: 256, rotationPolicy: 'Always' },
    usages: ['digital signature', 'server auth'],
  },
});
