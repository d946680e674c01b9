/** All relays of this machine. */
import path from 'node:path';
import type { ObjectKey } from '../../../crds/resource.ts';
import type { RelayGroup, RelayReplica, Relays } from '../../backend.ts';
import { readApplied, readConfig } from './config-folder.ts';
import { makeFolder } from './durable-file.ts';
import { awaitFormerReplicas } from './former-replicas.ts';
import { adminSocket, type Machine, type RelayPlaces, RelaySupervisor, type WantedRelay } from './relay-supervisor.ts';

export class HostRelays implements Relays {
  readonly #state: string;
  readonly #machine: Machine;
  readonly #supervisors = new Map<string, RelaySupervisor>();
  readonly #listeners: ((key: ObjectKey) => void)[] = [];

  /** @param state DIR, absolute */
  constructor(state: string, machine: Machine) {
    this.#state = state;
    this.#machine = machine;
    makeFolder(path.join(state, 'run'));
  }

  /** Waits, up to the grace time, for replicas that a killed supervisor left. */
  async start(stop: AbortSignal): Promise<void> {
    await awaitFormerReplicas(path.join(this.#state, 'run'), this.#machine.graceMs, this.#machine.log, stop);
  }

  async apply(group: RelayGroup): Promise<void> {
    const { listeners, replicas, drainTimeoutMs, documents } = group;
    const wanted = { listeners, replicas, drainTimeoutMs };
    this.#supervisorOf(group, wanted).apply(wanted, documents);
  }

  observe(key: ObjectKey): readonly RelayReplica[] {
    return this.#supervisors.get(idOf(key))?.observe() ?? [];
  }

  applied(key: ObjectKey): ReadonlyMap<string, string> {
    return readApplied(this.#placesOf(key).config);
  }

  isEmpty(key: ObjectKey, configHash: string): boolean {
    return this.#supervisors.get(idOf(key))?.isEmpty(configHash) ?? false;
  }

  peers({ namespace, name }: ObjectKey): { readonly socket: string } {
    return { socket: adminSocket(path.join(this.#state, 'run'), { namespace, name }, '{ordinal}') };
  }

  async remove(key: ObjectKey, drainTimeoutMs: number): Promise<boolean> {
    // After a restart there may be a relay to drain that was never applied by this process: its config tells enough.
    const facts = this.#supervisors.has(idOf(key)) ? undefined : readConfig(this.#placesOf(key).config);
    const supervisor = facts
      ? this.#supervisorOf(key, { ...facts, replicas: 0, drainTimeoutMs })
      : this.#supervisors.get(idOf(key));
    if (!supervisor) return true;
    if (!supervisor.remove(drainTimeoutMs)) return false;
    this.#supervisors.delete(idOf(key));
    return true;
  }

  watch(listener: (key: ObjectKey) => void): void {
    this.#listeners.push(listener);
  }

  /** Ends all replicas, within the grace time. Resolves once no process and no port is left. */
  async stop(): Promise<void> {
    await Promise.all([...this.#supervisors.values()].map((supervisor) => supervisor.stop()));
  }

  /** Ends all replicas at once. */
  kill(): void {
    for (const supervisor of this.#supervisors.values()) supervisor.kill();
  }

  #supervisorOf(key: ObjectKey, wanted: WantedRelay): RelaySupervisor {
    const known = this.#supervisors.get(idOf(key));
    if (known) return known;
    const { namespace, name } = key;
    const tell = (): void => {
      for (const listener of this.#listeners) listener({ namespace, name });
    };
    const supervisor = new RelaySupervisor(key, this.#placesOf(key), wanted, this.#machine, tell);
    this.#supervisors.set(idOf(key), supervisor);
    return supervisor;
  }

  #placesOf({ namespace, name }: ObjectKey): RelayPlaces {
    const below = (folder: string): string => path.join(this.#state, folder, namespace, name);
    const references = path.join(this.#state, 'secrets', namespace);
    return { config: below('config'), spool: below('spool'), references, run: path.join(this.#state, 'run') };
  }
}

const idOf = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;
