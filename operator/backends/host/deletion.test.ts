import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { deletable } from './deletion.ts';
import type { FileReading, FolderReading, ReadFault } from './manifests.ts';

/** A file by what stands in it: names of objects, and `unfinished` where it ends without a newline. */
type Sketch = Record<string, readonly string[]>;

const fileOf = (file: string, words: readonly string[]): FileReading => ({
  file,
  digest: createHash('sha256').update(words.join()).digest('hex'),
  endsWithNewline: !words.includes('unfinished'),
  objects: words
    .filter((word) => word !== 'unfinished' && word !== '#')
    .map((name) => ({ ref: { kind: 'SmtpUser', namespace: 'default', name }, file, document: {} })),
  foreign: [],
  faults: [],
});

const reading = (atMs: number, sketch: Sketch, faults: readonly ReadFault[] = []): FolderReading => ({
  atMs,
  present: true,
  files: new Map(Object.entries(sketch).map(([file, words]) => [file, fileOf(file, words)])),
  faults,
});

const FAULT: ReadFault = { file: 'x.yaml', message: 'cannot be read' };
const STORED = [{ id: 'SmtpUser/default/app', file: 'a.yaml' }];
const OTHER = { 'b.yaml': ['other'] };

const cases: readonly { readonly it: string; readonly readings: readonly FolderReading[]; readonly goes: boolean }[] = [
  {
    it: 'goes when its file is gone in two readings two seconds apart',
    readings: [reading(0, OTHER), reading(2000, OTHER)],
    goes: true,
  },
  { it: 'stays after one reading', readings: [reading(2000, OTHER)], goes: false },
  { it: 'stays before anything was read', readings: [], goes: false },
  {
    it: 'stays when the readings are less than two seconds apart',
    readings: [reading(0, OTHER), reading(1999, OTHER)],
    goes: false,
  },
  {
    it: 'goes when its file stood still and lacks it',
    readings: [reading(0, { 'a.yaml': ['rest'] }), reading(2000, { 'a.yaml': ['rest'] })],
    goes: true,
  },
  {
    it: 'stays when its file lacks it and still changes',
    readings: [reading(0, { 'a.yaml': ['rest'] }), reading(2000, { 'a.yaml': ['rest', 'more'] })],
    goes: false,
  },
  {
    it: 'stays when its file changed between two equal readings',
    readings: [
      reading(0, { 'a.yaml': ['rest'] }),
      reading(1000, { 'a.yaml': ['rest', 'more'] }),
      reading(2000, { 'a.yaml': ['rest'] }),
    ],
    goes: false,
  },
  {
    it: 'stays when its file lacks it and does not end with a newline',
    readings: [reading(0, { 'a.yaml': ['rest', 'unfinished'] }), reading(2000, { 'a.yaml': ['rest', 'unfinished'] })],
    goes: false,
  },
  {
    it: 'stays when its file went only lately',
    readings: [reading(0, { 'a.yaml': ['app'], ...OTHER }), reading(2000, OTHER)],
    goes: false,
  },
  {
    it: 'stays when its file came back without it only lately',
    readings: [reading(0, OTHER), reading(2000, { 'a.yaml': ['rest'] })],
    goes: false,
  },
  {
    it: 'stays when it has moved to another file',
    readings: [reading(0, { 'b.yaml': ['app'] }), reading(2000, { 'b.yaml': ['app'] })],
    goes: false,
  },
  {
    it: 'stays when the later reading had a fault, in whatever file',
    readings: [reading(0, OTHER), reading(2000, OTHER, [FAULT])],
    goes: false,
  },
  {
    it: 'stays when the earlier reading had a fault',
    readings: [reading(0, OTHER, [FAULT]), reading(2000, OTHER)],
    goes: false,
  },
  {
    it: 'stays when a reading between had a fault',
    readings: [reading(0, OTHER), reading(1000, OTHER, [FAULT]), reading(2000, OTHER)],
    goes: false,
  },
  {
    it: 'goes two seconds after a fault was mended',
    readings: [reading(0, OTHER, [FAULT]), reading(1000, OTHER), reading(3000, OTHER)],
    goes: true,
  },
  { it: 'stays when the folder is empty', readings: [reading(0, {}), reading(2000, {})], goes: false },
  {
    it: 'stays when no file holds any object',
    readings: [reading(0, { 'a.yaml': ['#'] }), reading(2000, { 'a.yaml': ['#'] })],
    goes: false,
  },
  {
    it: 'stays when the folder is missing',
    readings: [
      { ...reading(0, {}), present: false },
      { ...reading(2000, {}), present: false },
    ],
    goes: false,
  },
];

for (const { it, readings, goes } of cases) {
  test(`an object ${it}`, () => {
    assert.deepEqual(deletable(STORED, readings, false), goes ? ['SmtpUser/default/app'] : []);
  });
}

test('an empty and a missing folder delete everything where that is allowed', () => {
  for (const present of [true, false]) {
    const readings = [0, 2000].map((atMs) => ({ ...reading(atMs, {}), present }));
    assert.deepEqual(deletable(STORED, readings, true), ['SmtpUser/default/app']);
  }
});
