import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Crowd, type Member } from './crowd.ts';

/** A crowd at a time that the test sets, of members that have begun to be waited for at a time. */
class Scene {
  readonly crowd = new Crowd();
  readonly gone: string[] = [];
  nowMs = 0;

  enter(name: string, isKnown: boolean, sinceMs = this.nowMs): void {
    const member: Member = {
      client: name,
      isKnown: () => isKnown,
      waitedMs: () => this.nowMs - sinceMs,
      giveWay: () => {
        this.gone.push(name);
        this.crowd.leave(member);
      },
    };
    this.crowd.enter(member);
  }

  makeRoomAt(nowMs: number): boolean {
    this.nowMs = nowMs;
    return this.crowd.makeRoom(nowMs);
  }
}

test('nobody gives way before 10 s, and then who has been waited for longest', () => {
  const scene = new Scene();
  scene.enter('later', true, 100);
  scene.enter('first', true, 0);
  scene.enter('last', true, 200);
  assert.equal(scene.makeRoomAt(9_999), false);
  assert.equal(scene.makeRoomAt(10_000), true);
  assert.equal(scene.makeRoomAt(10_001), false);
  assert.equal(scene.makeRoomAt(60_000), true);
  assert.deepEqual(scene.gone, ['first', 'later']);
  assert.equal(scene.crowd.all, 1);
});

test('who has not said who it is gives way before who has', () => {
  const scene = new Scene();
  scene.enter('known', true, 0);
  scene.enter('stranger', false, 40_000);
  scene.enter('older stranger', false, 30_000);
  scene.enter('new stranger', false, 55_000);
  while (scene.makeRoomAt(60_000));
  assert.deepEqual(scene.gone, ['older stranger', 'stranger', 'known']);
});

test('one that enters with a long wait behind it is not overlooked', () => {
  const scene = new Scene();
  assert.equal(scene.makeRoomAt(0), false);
  scene.enter('one', true, 0);
  assert.equal(scene.makeRoomAt(10_000), true);
});

test('clients are counted by their sessions, whichever way these end', () => {
  const { crowd } = new Scene();
  const member = (): Member => ({ client: 'c', isKnown: () => true, waitedMs: () => 0, giveWay: () => {} });
  const [one, two] = [member(), member()];
  crowd.enter(one);
  crowd.enter(two);
  crowd.leave(one);
  // Told of its end once more.
  crowd.leave(one);
  assert.equal(crowd.of('c'), 1);
  crowd.leave(two);
  assert.equal(crowd.of('c'), 0);
});
