import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Envelope, Recipient } from '../spool/envelope.ts';
import type { Capabilities } from './capabilities.ts';
import { type Offer, planTransactions } from './transaction.ts';

const ALL: Capabilities = {
  pipelining: true,
  starttls: false,
  smtputf8: true,
  eightBitMime: true,
  dsn: true,
  size: {},
  auth: [],
};
const NONE: Capabilities = {
  pipelining: true,
  starttls: false,
  smtputf8: false,
  eightBitMime: false,
  dsn: false,
  size: undefined,
  auth: [],
};

const envelope: Envelope = {
  version: 1,
  mailFrom: 'app@example.test',
  smtputf8: false,
  bodyType: '7BIT',
  arrivedMs: 0,
  sizeBytes: 10,
  bodyHash: '',
  headerBytes: 0,
};
const to = (...addresses: string[]): Recipient[] => addresses.map((address) => ({ address, state: 'queued' }));

interface Case {
  readonly what: string;
  readonly envelope?: Partial<Envelope>;
  readonly offer?: Partial<Offer>;
  readonly host: Capabilities;
  readonly refused?: Readonly<Record<string, string>>;
  readonly mail?: readonly string[];
}

const cases: readonly Case[] = [
  { what: 'plain mail goes to the plainest host', host: NONE, mail: [] },
  { what: 'the size is told where it is asked for', host: ALL, mail: ['SIZE=10'] },
  {
    what: 'a message over the limit of the host is not offered',
    host: { ...ALL, size: { maxBytes: 9 } },
    refused: { 'bob@dest.test': '552 5.3.4' },
  },
  {
    what: '8-bit content is declared',
    envelope: { bodyType: '8BITMIME' },
    host: { ...ALL, size: undefined },
    mail: ['BODY=8BITMIME'],
  },
  {
    what: '8-bit content is not sent to a 7-bit host',
    envelope: { bodyType: '8BITMIME' },
    host: { ...ALL, eightBitMime: false },
    refused: { 'bob@dest.test': '554 5.6.3' },
  },
  {
    what: 'only the recipient whose address needs SMTPUTF8 is refused by a host without it',
    offer: { recipients: to('bob@dest.test', 'jürgen@dest.test') },
    host: { ...ALL, smtputf8: false, size: undefined },
    refused: { 'jürgen@dest.test': '550 5.6.7' },
    mail: [],
  },
  {
    what: 'a sender whose address needs SMTPUTF8 reaches nobody at a host without it',
    envelope: { mailFrom: 'é@example.test' },
    host: { ...ALL, smtputf8: false },
    refused: { 'bob@dest.test': '550 5.6.7' },
  },
  {
    what: 'a UTF-8 header needs SMTPUTF8 too',
    envelope: { smtputf8: true },
    offer: { utf8Header: true },
    host: { ...ALL, smtputf8: false },
    refused: { 'bob@dest.test': '550 5.6.7' },
  },
  {
    what: 'SMTPUTF8 is said where it is needed',
    envelope: { smtputf8: true },
    offer: { utf8Header: true },
    host: { ...ALL, size: undefined },
    mail: ['SMTPUTF8'],
  },
  {
    what: 'a client that said SMTPUTF8 and did not use it reaches any host',
    envelope: { smtputf8: true },
    host: NONE,
    mail: [],
  },
  {
    what: 'an address that would end its path is not sent',
    offer: { recipients: to('bob@dest.test', '"a>b"@dest.test', '"a\r\nRCPT TO:<x"@dest.test', '"a\0b"@dest.test') },
    host: NONE,
    refused: {
      '"a>b"@dest.test': '553 5.1.3',
      '"a\r\nRCPT TO:<x"@dest.test': '553 5.1.3',
      '"a\0b"@dest.test': '553 5.1.3',
    },
    mail: [],
  },
  {
    what: 'nor is a sender',
    envelope: { mailFrom: '"a> SIZE=1"@example.test' },
    host: NONE,
    refused: { 'bob@dest.test': '553 5.1.7' },
  },
  {
    what: 'RET and ENVID are passed on',
    envelope: { ret: 'HDRS', envid: 'a+b=c d' },
    host: { ...NONE, dsn: true },
    mail: ['RET=HDRS', 'ENVID=a+2Bb+3Dc+20d'],
  },
  {
    what: 'RET and ENVID stay here where DSN is not offered',
    envelope: { ret: 'HDRS', envid: 'x' },
    host: NONE,
    mail: [],
  },
];

for (const { what, envelope: changes, offer, host, refused = {}, mail } of cases) {
  test(what, () => {
    const plan = planTransactions(
      {
        envelope: { ...envelope, ...changes },
        recipients: to('bob@dest.test'),
        sizeBytes: 10,
        utf8Header: false,
        ...offer,
      },
      host,
      'mx.dest.test',
    );
    const told = [...plan.refused].map(([{ address }, { code, enhanced }]) => [address, `${code} ${enhanced}`]);
    assert.deepEqual(Object.fromEntries(told), refused);
    assert.deepEqual(plan.transactions[0]?.mailParameters, mail);
  });
}

test('what a recipient asked for goes along with it alone', () => {
  const recipients: Recipient[] = [
    { address: 'bob@dest.test', state: 'queued', notify: ['SUCCESS', 'FAILURE'], orcpt: 'rfc822;b+2Bob@dest.test' },
    { address: 'eve@dest.test', state: 'queued' },
  ];
  const offer = { envelope, recipients, sizeBytes: 10, utf8Header: false };
  const parameters = (host: Capabilities) =>
    planTransactions(offer, host, 'mx').transactions[0]?.recipients.map((recipient) => recipient.parameters);
  assert.deepEqual(parameters(ALL), [['NOTIFY=SUCCESS,FAILURE', 'ORCPT=rfc822;b+2Bob@dest.test'], []]);
  assert.deepEqual(parameters(NONE), [[], []]);
  for (const orcpt of ['rfc822;bob SIZE=1', 'rfc822;bob\r\nDATA']) {
    const forged = { ...offer, recipients: [{ ...to('bob@dest.test')[0], orcpt } as Recipient] };
    assert.deepEqual(planTransactions(forged, ALL, 'mx').transactions[0]?.recipients[0]?.parameters, []);
  }
});

test('a transaction has at most 100 recipients', () => {
  const recipients = to(...Array.from({ length: 250 }, (_, i) => `r${i}@dest.test`));
  const plan = planTransactions({ envelope, recipients, sizeBytes: 10, utf8Header: false }, ALL, 'mx');
  assert.deepEqual(
    plan.transactions.map(({ items }) => items.length),
    [100, 100, 50],
  );
});
