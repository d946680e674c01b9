/** SPF by a table, each line judged by pyspf too. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { needsPython, pyspfResult } from '../../test/harness/python.ts';
import type { Answer, QuestionType } from './lookup.ts';
import { evaluateSpf } from './spf.ts';

/** Lines of a zone, `NAME TYPE DATA`. */
type Zone = Readonly<Record<string, string>>;

const CLIENT = '192.0.2.10';

function asking(zone: Zone, questions: string[] = []) {
  return async (type: QuestionType, name: string): Promise<Answer> => {
    questions.push(`${type} ${name}`);
    const all = Object.entries(zone).filter(([owner]) => owner.split(' ')[0] === name.toLowerCase());
    const values = all
      .filter(([owner]) => owner.split(' ')[1] === type)
      .flatMap(([, data]) => data.split(' | '))
      .map((value) => (type === 'MX' ? (value.split(' ')[1] ?? '') : value).replace(/\.$/, ''));
    if (values[0] === 'SERVFAIL') return { kind: 'Failed', why: 'SERVFAIL' };
    return values.length === 0 ? { kind: 'None' } : { kind: 'Found', values };
  };
}

const zoneText = (zone: Zone): string =>
  Object.entries(zone)
    .flatMap(([owner, data]) => {
      const [name, type = ''] = owner.split(' ');
      return data.split(' | ').map((value) => `${name}. 60 IN ${type} ${type === 'TXT' ? `"${value}"` : value}\n`);
    })
    .join('');

const spf = (terms: string, more: Zone = {}): Zone => ({ 'd.test TXT': `v=spf1 ${terms}`, ...more });
const chain = (length: number): Zone =>
  Object.fromEntries(
    Array.from({ length }, (_, i) => [
      `c${i}.test TXT`,
      `v=spf1 ${i + 1 < length ? `include:c${i + 1}.test` : `ip4:${CLIENT}`} -all`,
    ]),
  );
const hosts = (count: number): string => Array.from({ length: count }, (_, i) => `10 h${i}.test.`).join(' | ');

const CASES: readonly [sentence: string, zone: Zone, result: string, address?: string][] = [
  ['its address is in the record', spf(`ip4:${CLIENT} -all`), 'pass'],
  ['its network is in the record', spf('ip4:192.0.2.0/28 -all'), 'pass'],
  ['its network is another', spf('ip4:192.0.2.16/28 -all'), 'fail'],
  ['its IPv6 network is in the record', spf('ip6:2001:db8::/32 -all'), 'pass', '2001:db8::10'],
  ['only IPv4 is in the record', spf('ip4:0.0.0.0/0 ~all'), 'softfail', '2001:db8::10'],
  ['nothing matches', spf('ip4:198.51.100.1'), 'neutral'],
  ['others are neither allowed nor forbidden', spf('?all'), 'neutral'],
  ['there is no record', { 'd.test TXT': 'hello' }, 'none'],
  ['a text only looks like a record', { 'd.test TXT': 'v=spf10 +all' }, 'none'],
  ['a text beside the record is something else', { 'd.test TXT': `hello | v=spf1 ip4:${CLIENT} -all` }, 'pass'],
  ['there are two records', { 'd.test TXT': `v=spf1 ip4:${CLIENT} -all | v=spf1 -all` }, 'permerror'],
  ['terms are in other case', { 'd.test TXT': `V=SPF1 IP4:${CLIENT} -ALL` }, 'pass'],
  ['the domain leads to it', spf('a -all', { 'd.test A': CLIENT }), 'pass'],
  ['a host and its neighbours may send', spf('a:h.test/28 -all', { 'h.test A': '192.0.2.1' }), 'pass'],
  ['a host may send, by IPv6', spf('a:h.test//64 -all', { 'h.test AAAA': '2001:db8::1' }), 'pass', '2001:db8::10'],
  ['its MX hosts may send', spf('mx -all', { 'd.test MX': '10 h.test.', 'h.test A': CLIENT }), 'pass'],
  ['another domain is included', spf('include:o.test -all', { 'o.test TXT': `v=spf1 ip4:${CLIENT} -all` }), 'pass'],
  [
    'an included domain forbids it, which is no match',
    spf('include:o.test ~all', { 'o.test TXT': 'v=spf1 -all' }),
    'softfail',
  ],
  ['an included domain has no record', spf('include:o.test -all'), 'permerror'],
  ['the record is elsewhere', spf('redirect=o.test', { 'o.test TXT': `v=spf1 ip4:${CLIENT} -all` }), 'pass'],
  ['the record elsewhere is missing', spf('redirect=o.test'), 'permerror'],
  ['a redirect stands after all', spf('-all redirect=o.test', { 'o.test TXT': 'v=spf1 +all' }), 'fail'],
  [
    'a name made of its address exists',
    spf('exists:%{ir}.l.test -all', { '10.2.0.192.l.test A': '127.0.0.2' }),
    'pass',
  ],
  [
    'a macro takes part of the domain',
    spf('include:%{d1}.test -all', { 'test.test TXT': `v=spf1 ip4:${CLIENT}` }),
    'pass',
  ],
  ['a macro takes a letter that is for explanations', spf('exists:%{c}.l.test -all'), 'permerror'],
  ['an unknown modifier is passed over', spf(`foo=bar ip4:${CLIENT} -all`), 'pass'],
  ['a mechanism is unknown', spf(`ip4:${CLIENT} ip5:1 -all`), 'permerror'],
  ['an address is no address, after what matches', spf(`ip4:${CLIENT} ip4:192.0.2.300 -all`), 'permerror'],
  ['a prefix is too long', spf(`ip4:${CLIENT}/33 -all`), 'permerror'],
  ['all has an argument', spf('all:d.test'), 'permerror'],
  ['an include names nothing', spf('include: -all'), 'permerror'],
  ['a redirect stands twice', spf('redirect=o.test redirect=o.test', { 'o.test TXT': 'v=spf1 +all' }), 'permerror'],
  ['ten lookups are needed', { ...spf('include:c0.test -all'), ...chain(10) }, 'pass'],
  ['eleven lookups are needed', { ...spf('include:c0.test -all'), ...chain(11) }, 'permerror'],
  ['it includes itself', spf('include:d.test -all'), 'permerror'],
  ['two include each other', spf('include:o.test -all', { 'o.test TXT': 'v=spf1 include:d.test -all' }), 'permerror'],
  ['two names lead nowhere', spf(`a:n1.test a:n2.test ip4:${CLIENT} -all`), 'pass'],
  ['three names lead nowhere', spf(`a:n1.test a:n2.test a:n3.test ip4:${CLIENT} -all`), 'permerror'],
  ['there are eleven MX hosts', spf('mx -all', { 'd.test MX': hosts(11), 'h0.test A': CLIENT }), 'permerror'],
];

describe('SPF, where', () => {
  for (const [sentence, zone, result, address = CLIENT] of CASES) {
    it(`${sentence}: ${result}`, needsPython, async () => {
      const verdict = await evaluateSpf({ address, domain: 'd.test', helo: 'relay.test' }, asking(zone));
      assert.equal(verdict.result, result, verdict.why);
      const client = { address, sender: 'postmaster@d.test', helo: 'relay.test' };
      assert.equal((await pyspfResult(client, { zone: zoneText(zone) })).result, result, 'pyspf');
    });
  }

  it('DNS does not answer: temperror, unless what comes before decides', async () => {
    const client = { address: CLIENT, domain: 'd.test', helo: 'relay.test' };
    const broken = { 'o.test TXT': 'SERVFAIL' };
    assert.equal((await evaluateSpf(client, asking(spf('include:o.test -all', broken)))).result, 'temperror');
    const verdict = await evaluateSpf(client, asking(spf(`ip4:${CLIENT} include:o.test -all`, broken)));
    assert.deepEqual(verdict, { result: 'pass', why: `ip4:${CLIENT} of d.test` });
  });

  it('its own name is wanted of the address: only a name that leads back counts', async () => {
    const client = { address: CLIENT, domain: 'd.test', helo: 'relay.test' };
    const reverse = { '10.2.0.192.in-addr.arpa PTR': 'relay.d.test.' };
    assert.equal((await evaluateSpf(client, asking(spf('ptr -all', reverse)))).result, 'fail');
    const forward = { ...reverse, 'relay.d.test A': CLIENT };
    assert.equal((await evaluateSpf(client, asking(spf('ptr -all', forward)))).result, 'pass');
  });

  it('a record is made to ask without end: no more questions than a receiver asks', async () => {
    const questions: string[] = [];
    const loop = spf('include:d.test include:d.test include:d.test -all');
    await evaluateSpf({ address: CLIENT, domain: 'd.test', helo: 'relay.test' }, asking(loop, questions));
    assert.ok(questions.length <= 11, `${questions.length} questions`);
  });
});
