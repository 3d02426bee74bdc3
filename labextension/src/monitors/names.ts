import type { Monitor, MonitorsApi } from '../api/monitors';
import { watchedId } from './order';

/** Names of the data sets and profiles that monitors watch, asked for once. What cannot be named is called by its id. */
export class WatchedNames {
  constructor(private readonly _api: MonitorsApi) {}

  /** The names by their ids: another map whenever there are more of them. */
  get known(): ReadonlyMap<string, string> {
    return this._names;
  }

  /** Ask for what these monitors watch, where it is new. Whether anything was. */
  async learn(monitors: Iterable<Monitor>): Promise<boolean> {
    const unnamed = [...monitors].filter(monitor => {
      const id = watchedId(monitor);
      return id !== null && !this._names.has(id);
    });
    if (!unnamed.length) {
      return false;
    }
    const ids = unnamed.map(monitor => watchedId(monitor)!);
    this._add(ids.map(id => [id, id]));
    const nothing = { items: [] };
    const [datasets, profiles] = await Promise.all([
      unnamed.some(({ dataset_id }) => dataset_id) ? this._api.datasets().catch(() => nothing) : nothing,
      unnamed.some(({ dataset_id }) => !dataset_id) ? this._api.profiles().catch(() => nothing) : nothing
    ]);
    this._add(datasets.items.map(({ id, name, version }) => [id, `${name}/${version}`]));
    this._add(profiles.items.map(({ id, name }) => [id, name]));
    return true;
  }

  private _add(names: readonly (readonly [string, string])[]): void {
    this._names = new Map([...this._names, ...names]);
  }

  private _names: ReadonlyMap<string, string> = new Map();
}
