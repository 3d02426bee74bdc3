import { Time } from '@jupyterlab/coreutils';
import type { TranslationBundle } from '@jupyterlab/translation';

/** How long ago, in words; a clock that differs from the server's never puts it into the future. */
export function age(when: string): string {
  return Time.formatHuman(new Date(Math.min(Date.parse(when), Date.now())), 'short');
}

/** Date and time, to the second. */
export function moment(when: string): string {
  return new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(when));
}

/** Date and time, to the minute. */
export function whenLabel(when: string): string {
  return minutes().format(new Date(when));
}

/** The same in figures, for a narrow column. */
export function dayLabel(when: string): string {
  return new Intl.DateTimeFormat(language(), { dateStyle: 'short', timeStyle: 'short' }).format(new Date(when));
}

/** From when to when, to the minute; what both have in common is said once. */
export function spanLabel(from: string, to: string): string {
  return minutes().formatRange(new Date(from), new Date(to));
}

/** Two moments in as few characters as tell them apart: the days, or the times of one day. */
export function edgeLabels(from: string, to: string): [string, string] {
  const dates = [new Date(from), new Date(to)] as const;
  const sameDay = dates[0].toDateString() === dates[1].toDateString();
  const sameYear = dates[0].getFullYear() === dates[1].getFullYear();
  const format = new Intl.DateTimeFormat(
    language(),
    sameDay ? { timeStyle: 'short' } : { day: 'numeric', month: 'short', ...(sameYear ? {} : { year: 'numeric' }) }
  );
  return [format.format(dates[0]), format.format(dates[1])];
}

/** The time of day, to the second. */
export function timeOfDay(when: string): string {
  return new Intl.DateTimeFormat(language(), { timeStyle: 'medium' }).format(new Date(when));
}

/** A span of time in its two largest units. */
export function duration(milliseconds: number, trans: TranslationBundle): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3600) % 24,
    Math.floor(seconds / 60) % 60
  ];
  if (days) {
    return trans.__('%1 d %2 h', days, hours);
  }
  if (hours) {
    return trans.__('%1 h %2 min', hours, minutes);
  }
  return minutes ? trans.__('%1 min %2 s', minutes, seconds % 60) : trans.__('%1 s', seconds);
}

/** A size in bytes with three digits. */
export function bytes(size: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  return `${number(size / 1000 ** power, 3)} ${units[power]}`;
}

/** A number with some significant digits, in the user's language. */
export function number(value: number, digits = 4): string {
  const wide = value !== 0 && (Math.abs(value) >= 1e9 || Math.abs(value) < 1e-3);
  return new Intl.NumberFormat(language(), {
    maximumSignificantDigits: digits,
    notation: wide ? 'scientific' : 'standard'
  }).format(value);
}

/** The user's language, as JupyterLab says it. */
export function language(): string {
  return document.documentElement.lang || 'en';
}

function minutes(): Intl.DateTimeFormat {
  return new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'short' });
}
