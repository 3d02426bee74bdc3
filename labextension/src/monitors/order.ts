import type { Alarm, Measurement, Monitor, Rule } from '../api/monitors';

/** Those that fire first, then those that may fire soon; the newest first among equals. */
export function alarmsFirst(a: Monitor, b: Monitor): number {
  return rank(a) - rank(b) || (a.id < b.id ? 1 : -1);
}

function rank({ firing, pending }: Monitor): number {
  return firing ? 0 : pending ? 1 : 2;
}

/** The id of what is watched, where it is no model: those have names. */
export function watchedId({ model, dataset_id, profile_id }: Monitor): string | null {
  return model === null ? (dataset_id ?? profile_id) : null;
}

/** Tells a rule from others. */
export function ruleKey({ check, feature, aspect }: Rule): string {
  return JSON.stringify([check, feature, aspect]);
}

/** The rules of a monitor: those with alarms first, then those that the last window broke, then all others. */
export function rulesOf(alarms: readonly Alarm[], measured: readonly Measurement[]): Rule[] {
  const active = (state: Alarm['state']): Alarm[] => alarms.filter(alarm => alarm.state === state);
  const breached = (wanted: boolean): Measurement[] => measured.filter(({ breached }) => breached === wanted);
  const rules = new Map<string, Rule>();
  [active('firing'), active('pending'), breached(true), breached(false), active('resolved')].flat().forEach(one => {
    const { check, feature, aspect } = one;
    const key = ruleKey(one);
    if (!rules.has(key)) {
      rules.set(key, { check, feature, aspect });
    }
  });
  return [...rules.values()];
}
