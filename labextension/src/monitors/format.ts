import type { TranslationBundle } from '@jupyterlab/translation';
import {
  type Alarm,
  type Check,
  type Comparator,
  type Delivery,
  type Evaluation,
  type Monitor,
  type Route,
  type Rule,
  stateOf
} from '../api/monitors';
import { age, language, number, spanLabel, whenLabel } from '../common/format';
import { ruleKey, watchedId } from './order';
import { isLogarithmic, type Point, type Timeline } from './timeline';

/** How a monitor stands: `2 firing, 1 pending`, `Quiet`; alarms are told of a paused one too. */
export function stateLabel(monitor: Monitor, trans: TranslationBundle): string {
  const { firing, pending } = monitor;
  const alarms = alarmsLabel(firing, pending, trans);
  const state = stateOf(monitor);
  if (state === 'paused') {
    return alarms ? trans.__('Paused, %1', alarms) : trans.__('Paused');
  }
  return alarms || (state === 'new' ? trans.__('No window yet') : trans.__('Quiet'));
}

/** How many alarms there are: `2 firing, 1 pending`; empty where there are none. */
export function alarmsLabel(firing: number, pending: number, trans: TranslationBundle): string {
  return [firing ? trans.__('%1 firing', firing) : '', pending ? trans.__('%1 pending', pending) : '']
    .filter(Boolean)
    .join(', ');
}

/** What a monitor watches: a model by its name and version; else a data set or a profile, by its name or id. */
export function watchedLabel(monitor: Monitor, names: ReadonlyMap<string, string>, trans: TranslationBundle): string {
  const id = watchedId(monitor);
  if (id === null) {
    return monitor.model ?? '';
  }
  const name = names.get(id) ?? id;
  return monitor.dataset_id ? trans.__('data set %1', name) : trans.__('profile %1', name);
}

/** What a row says to those who hear it. */
export function rowLabel(monitor: Monitor, names: ReadonlyMap<string, string>, trans: TranslationBundle): string {
  const { name, last_end } = monitor;
  return [
    name,
    stateLabel(monitor, trans),
    trans.__('watches %1', watchedLabel(monitor, names, trans)),
    last_end ? trans.__('last window %1', age(last_end)) : ''
  ]
    .filter(Boolean)
    .join(', ');
}

/** A line of Python that opens a monitor. */
export function codeOf(name: string): string {
  return `workspace.monitors.get(${JSON.stringify(name)})`;
}

/** What a rule looks at: `age`, `age outside of its range`; all columns where there is no feature. */
export function ruleLabel({ feature, aspect }: Rule, trans: TranslationBundle): string {
  const what = feature || trans.__('all columns');
  const labels: Record<Rule['aspect'], string> = {
    '': what,
    outside: trans.__('%1, outside of its range', what),
    unseen: trans.__('%1, in no known category', what),
    missing: trans.__('%1, missing', what)
  };
  return labels[aspect];
}

/** Since when an alarm is, and in how many windows; of one that was resolved, from when to when. */
export function alarmSpan(alarm: Alarm, monitor: Monitor, trans: TranslationBundle): string {
  const { state, breaches, calm, began_at, fired_at, resolved_at } = alarm;
  const windows = trans._n('in %1 window', 'in %1 windows in a row', breaches);
  if (state === 'resolved') {
    const span = resolved_at ? spanLabel(began_at, resolved_at) : whenLabel(began_at);
    return `${span} · ${windows}`;
  }
  const since =
    state === 'firing'
      ? trans.__('Firing since %1', whenLabel(fired_at ?? began_at))
      : trans.__('Pending since %1', whenLabel(began_at));
  const next =
    state === 'pending'
      ? trans.__('fires after %1', monitor.fire_after)
      : calm
        ? trans.__('%1 of %2 windows without, then resolved', calm, monitor.resolve_after)
        : '';
  return [since, windows, next].filter(Boolean).join(' · ');
}

/** From when to when a window was; or when it ended. */
export function windowLabel({ start, end }: Pick<Evaluation, 'start' | 'end'>): string {
  return start ? spanLabel(start, end) : whenLabel(end);
}

/** Which rules a window broke: `drift of age, income; quality of plan, missing`. */
export function breachesLabel(window: Evaluation, trans: TranslationBundle): string {
  const shown = 5;
  const named = window.judged.slice(0, shown).map(one => trans.__('%1: %2', one.check, ruleLabel(one, trans)));
  const more = window.breached - named.length;
  return [...named, more > 0 ? trans._n('and %1 more', 'and %1 more', more) : ''].filter(Boolean).join('; ');
}

/** A measured value, or a threshold, as it is drawn: a share in per cent, a logarithm or a number as it is. */
export function valueLabel(value: number, { unit }: Pick<Timeline, 'unit'>): string {
  return unit === 'share'
    ? new Intl.NumberFormat(language(), { style: 'percent', maximumSignificantDigits: 3 }).format(value)
    : number(value, isLogarithmic(unit) ? 3 : 4);
}

/** A comparator in words. */
export function comparatorLabel(comparator: Comparator, trans: TranslationBundle): string {
  const labels: Record<Comparator, string> = {
    '==': trans.__('equal to'),
    '!=': trans.__('other than'),
    '>': trans.__('above'),
    '<': trans.__('below'),
    '>=': trans.__('at or above'),
    '<=': trans.__('at or below')
  };
  return labels[comparator];
}

/** What the values of a timeline are, and which of them are a breach. */
export function unitLabel({ unit, comparator }: Timeline, check: Check | undefined, trans: TranslationBundle): string {
  if (isLogarithmic(unit)) {
    return trans.__('−log10 of the %1-value: on the line and above is a breach.', unit);
  }
  if (unit === 'share') {
    return trans.__('Share of the rows: above the line is a breach.');
  }
  const what = check?.kind === 'metric' ? trans.__('The %1 of %2', check.over, check.model) : trans.__('The value');
  return trans.__('%1: %2 the line is a breach.', what, comparatorLabel(comparator, trans));
}

/** What a point of a timeline says. */
export function pointLabel(point: Point, timeline: Timeline, trans: TranslationBundle): string {
  const when = windowLabel(point);
  if (point.value === null) {
    return trans.__('%1: not measured. %2', when, point.note);
  }
  const value = valueLabel(point.value, timeline);
  const threshold = valueLabel(point.threshold, timeline);
  return point.breached
    ? trans.__('%1: %2, a breach (threshold %3)', when, value, threshold)
    : trans.__('%1: %2 (threshold %3)', when, value, threshold);
}

/** What was measured, in a column: a breach is told by a word. */
export function measuredLabel({ value, breached, note }: Point, timeline: Timeline, trans: TranslationBundle): string {
  if (value === null) {
    return note || trans.__('not measured');
  }
  const label = valueLabel(value, timeline);
  return breached ? trans.__('%1, breach', label) : label;
}

/** What a timeline shows, for those who don't see it. */
export function timelineLabel(timeline: Timeline, rule: Rule, trans: TranslationBundle): string {
  const { points } = timeline;
  const breaches = points.filter(({ breached }) => breached).length;
  const last = points.at(-1);
  return [
    trans.__('%1: %2.', rule.check, ruleLabel(rule, trans)),
    trans._n('%1 window,', '%1 windows,', points.length),
    trans._n('%1 breach.', '%1 breaches.', breaches),
    last ? trans.__('Last: %1.', pointLabel(last, timeline, trans)) : ''
  ]
    .filter(Boolean)
    .join(' ');
}

/** Where a message goes. */
export function routeLabel(route: Route, trans: TranslationBundle): string {
  if (route.kind === 'jupyter') {
    return trans.__('Notification in JupyterLab');
  }
  const labels =
    route.kind === 'alertmanager' ? Object.entries(route.labels).map(([name, value]) => `${name}=${value}`) : [];
  const where = route.kind === 'webhook' ? trans.__('Webhook %1', route.url) : trans.__('Alertmanager %1', route.url);
  return labels.length ? trans.__('%1 (%2)', where, labels.join(', ')) : where;
}

/** The word for what became of a message. */
export function deliveryLabel(state: Delivery['state'], trans: TranslationBundle): string {
  const labels: Record<Delivery['state'], string> = {
    waiting: trans.__('Waiting'),
    delivered: trans.__('Delivered'),
    repeating: trans.__('Told again and again'),
    failed: trans.__('Failed')
  };
  return labels[state];
}

/** What a message is about, and how often it was tried. */
export function deliveryNote(delivery: Delivery, trans: TranslationBundle): string {
  const { event, alarm_ids, attempts, status, state, next_at } = delivery;
  const alarms =
    event === 'fired'
      ? trans._n('%1 alarm fired', '%1 alarms fired', alarm_ids.length)
      : trans._n('%1 alarm resolved', '%1 alarms resolved', alarm_ids.length);
  return [
    alarms,
    attempts ? trans._n('%1 attempt', '%1 attempts', attempts) : trans.__('not tried yet'),
    status === null ? '' : trans.__('answer %1', status),
    state === 'waiting' && next_at && attempts ? trans.__('again at %1', whenLabel(next_at)) : ''
  ]
    .filter(Boolean)
    .join(' · ');
}

/** A rule by its key. */
export function findRule(rules: readonly Rule[], key: string): Rule | undefined {
  return rules.find(rule => ruleKey(rule) === key);
}
