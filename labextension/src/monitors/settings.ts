import type { TranslationBundle } from '@jupyterlab/translation';
import type { Check, Monitor } from '../api/monitors';
import { number } from '../common/format';
import { comparatorLabel, valueLabel } from './format';

/** So many names or categories are written out. */
const SHOWN = 5;

/** What a check looks at and when it is a breach, in sentences. */
export function checkSentences(check: Check, trans: TranslationBundle): string[] {
  switch (check.kind) {
    case 'drift':
      return [
        trans.__("A breach is a feature's q-value at or below %1.", levelLabel(check, trans)),
        check.correction === 'none'
          ? trans.__('Features are not corrected for each other.')
          : trans.__('Corrected by %1.', CORRECTIONS[check.correction]),
        check.methods === null ? '' : trans.__('Methods: %1.', methodsLabel(check.methods)),
        featuresSentence(check.features, trans)
      ].filter(Boolean);
    case 'quality':
      return [
        trans.__(
          'A breach is more than %1 of the rows outside of a range, in no known category, or missing beyond what is allowed.',
          share(check.share)
        ),
        check.learned
          ? trans.__('What is not named is learned from the reference.')
          : trans.__('Only what is named is looked at.'),
        ...Object.entries(check.ranges).map(([feature, range]) => rangeSentence(feature, range, trans)),
        ...Object.entries(check.categories).map(([feature, known]) =>
          trans.__('%1: %2.', feature, listed(known, trans))
        ),
        ...Object.entries(check.missing).map(([feature, allowed]) =>
          trans.__('%1: at most %2 missing.', feature, share(allowed))
        )
      ];
    case 'outliers':
      return [
        trans.__('A row is an outlier at a p-value of at most %1.', number(check.level)),
        trans.__('A breach is so many of them that chance explains them at or below %1.', levelLabel(check, trans)),
        featuresSentence(check.features, trans)
      ].filter(Boolean);
    case 'metric':
      return [
        trans.__(
          'A breach is when the %1 of %2 is %3 %4.',
          check.over,
          check.model,
          comparatorLabel(check.comparator, trans),
          number(check.threshold)
        )
      ];
  }
}

/** How windows are cut and when alarms fire and are resolved, in sentences. */
export function monitorSentences(monitor: Monitor, trans: TranslationBundle): string[] {
  const { timestamp, period, min_rows, fire_after, resolve_after } = monitor;
  return [
    timestamp && period
      ? trans.__('Rows are cut into windows of %1 by the time in “%2”, in UTC.', periodLabel(period, trans), timestamp)
      : trans.__('What is given to check() is one window.'),
    trans._n('A window is judged from %1 row on.', 'A window is judged from %1 rows on.', min_rows),
    trans._n('An alarm fires at the first breach.', 'An alarm fires after %1 breaches in a row.', fire_after),
    trans._n(
      'It is resolved after the first window without.',
      'It is resolved after %1 windows without.',
      resolve_after
    )
  ];
}

/** The length of a window as pandas writes it, in words where it is one of the usual ones. */
function periodLabel(period: string, trans: TranslationBundle): string {
  const [, digits = '', unit = ''] = /^(\d*)([A-Za-z]+)$/.exec(period) ?? [];
  const count = digits ? Number(digits) : 1;
  const labels: Record<string, string> = {
    min: trans._n('%1 minute', '%1 minutes', count),
    h: trans._n('%1 hour', '%1 hours', count),
    D: trans._n('%1 day', '%1 days', count),
    W: trans._n('%1 week', '%1 weeks', count),
    M: trans._n('%1 month', '%1 months', count)
  };
  return labels[unit] ?? period;
}

/** Names, so in no language. */
const CORRECTIONS = { bh: 'Benjamini–Hochberg', by: 'Benjamini–Yekutieli', bonferroni: 'Bonferroni' } as const;

function levelLabel({ alpha, anytime }: { alpha: number; anytime: boolean }, trans: TranslationBundle): string {
  return anytime
    ? trans.__('a level that shrinks with each window, %1 for all of them together', number(alpha))
    : trans.__('%1, in each window', number(alpha));
}

function methodsLabel(methods: string | readonly string[] | Readonly<Record<string, string>>): string {
  if (typeof methods === 'string') {
    return methods;
  }
  return isList(methods)
    ? methods.join(', ')
    : Object.entries(methods)
        .map(([feature, method]) => `${feature}: ${method}`)
        .join(', ');
}

function isList(methods: readonly string[] | Readonly<Record<string, string>>): methods is readonly string[] {
  return Array.isArray(methods);
}

function featuresSentence(features: readonly string[] | null, trans: TranslationBundle): string {
  return features ? trans.__('Only of %1.', listed(features, trans)) : '';
}

function rangeSentence(
  feature: string,
  [least, most]: readonly [number | null, number | null],
  trans: TranslationBundle
): string {
  if (least !== null && most !== null) {
    return trans.__('%1: from %2 to %3.', feature, number(least), number(most));
  }
  if (least !== null) {
    return trans.__('%1: %2 or more.', feature, number(least));
  }
  return most === null ? trans.__('%1: any value.', feature) : trans.__('%1: %2 or less.', feature, number(most));
}

function listed(names: readonly string[], trans: TranslationBundle): string {
  const more = names.length - SHOWN;
  const shown = names.slice(0, SHOWN).join(', ');
  return more > 0 ? trans._n('%2 and %1 more', '%2 and %1 more', more, shown) : shown;
}

function share(value: number): string {
  return valueLabel(value, { unit: 'share' });
}
