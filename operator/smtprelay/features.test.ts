import assert from 'node:assert/strict';
import { test } from 'node:test';
import { relay } from '../../test/harness/manifests.ts';
import { featuresIn } from './features.ts';
import { settingsDocument } from './settings.ts';

const smarthost = { host: 'smtp.test', port: 587, tls: { mode: 'Verified' as const } };
const { delivery } = relay('outbound').spec;
const routed = (...smarthosts: (typeof smarthost & { credentialsSecretRef?: { name: string } })[]) =>
  settingsDocument(
    relay('outbound', { delivery: { ...delivery, routes: [{ match: { domains: ['*'] }, smarthosts }] } }),
    (port) => port,
  );

test('a config asks for what it uses, and one that uses nothing new is for relays of any version', () => {
  assert.deepEqual(featuresIn(routed(smarthost)), []);
  assert.deepEqual(featuresIn(routed(smarthost, { ...smarthost, credentialsSecretRef: { name: 'provider' } })), [
    'smarthost-credentials',
  ]);
});
