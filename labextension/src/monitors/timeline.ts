import type { Check, Comparator, Measurement } from '../api/monitors';

/** What is drawn: shares of rows, numbers, or -log10 of q- and p-values, of which larger is more telling. */
export type Unit = 'q' | 'p' | 'share' | 'number';

/** One window of a timeline. */
export interface Point {
  readonly id: string;
  readonly start: string | null;
  readonly end: string;
  /** Null where nothing could be measured; the note tells why. */
  readonly value: number | null;
  readonly threshold: number;
  readonly breached: boolean;
  readonly note: string;
}

/** What was measured of one rule, oldest first, and the scale that holds it. */
export interface Timeline {
  readonly points: readonly Point[];
  readonly unit: Unit;
  /** How a value is a breach, held against the threshold as it is drawn. */
  readonly comparator: Comparator;
  readonly low: number;
  readonly high: number;
}

/** A q-value of 0 is one that is too small for a number; so `history` of a monitor has it, too. */
const SMALLEST = 1e-300;
const UNITS: Readonly<Record<Check['kind'], Unit>> = { drift: 'q', outliers: 'p', quality: 'share', metric: 'number' };

/** Whether a unit is drawn as -log10 of what was measured. */
export function isLogarithmic(unit: Unit): boolean {
  return unit === 'q' || unit === 'p';
}

/** Make measurements of one rule, newest first, into a timeline. */
export function timelineOf(measured: readonly Measurement[], check: Check | undefined): Timeline {
  const unit = check ? UNITS[check.kind] : 'number';
  const scaled = (value: number): number => (isLogarithmic(unit) ? 0 - Math.log10(Math.max(value, SMALLEST)) : value);
  const points = measured
    .map(({ evaluation_id, start, end, value, threshold, breached, note }) => ({
      id: evaluation_id,
      start,
      end,
      value: value === null ? null : scaled(value),
      threshold: scaled(threshold),
      breached,
      note
    }))
    .reverse()
    .sort((a, b) => Date.parse(a.end) - Date.parse(b.end));
  const comparator = isLogarithmic(unit) ? '>=' : (measured[0]?.comparator ?? '>');
  return { points, unit, comparator, ...scaleOf(points, unit) };
}

/** A scale from the least to the greatest; shares and logarithms begin at 0. */
function scaleOf(points: readonly Point[], unit: Unit): { low: number; high: number } {
  const numbers = points.flatMap(({ value, threshold }) => (value === null ? [threshold] : [value, threshold]));
  const least = numbers.length ? Math.min(...numbers) : 0;
  const most = numbers.length ? Math.max(...numbers) : 1;
  const low = unit === 'number' ? least : 0;
  // One value only lies in the middle of its scale, or on the ground of it.
  const room = most > low ? 0 : Math.abs(most) / 10 || 1;
  return { low: unit === 'number' ? low - room : low, high: most + room };
}
