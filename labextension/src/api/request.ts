import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** Where every route of ours lives, below the server's base URL. */
const PREFIX = 'jupyter-ext/api/v1';

/** Why a request failed, in the server's own sentence. */
export class ServerError extends Error {
  /**
   * @param message - What was wrong and what to do.
   * @param status - The HTTP status; 0 when the server could not be reached.
   * @param reason - The machine-readable reason, as in `jupyter_ext.errors`.
   */
  constructor(
    message: string,
    readonly status: number,
    readonly reason: string
  ) {
    super(message);
    this.name = 'ServerError';
  }

  /** Whether the server does not know our routes at all: the server extension is missing or disabled. */
  get extensionMissing(): boolean {
    return this.status === 404 && this.reason !== 'not_found';
  }
}

/** One page of a list, newest first. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

/** Read the pages of a list, but not more than `most`, and say whether there are more. */
export async function allPages<T>(
  read: (cursor?: string) => Promise<Page<T>>,
  most: number
): Promise<{ items: T[]; more: boolean }> {
  const items: T[] = [];
  let cursor: string | null = null;
  for (let pages = 0; pages < most && (pages === 0 || cursor !== null); pages++) {
    const page: Page<T> = await read(cursor ?? undefined);
    items.push(...page.items);
    cursor = page.next_cursor;
  }
  return { items, more: cursor !== null };
}

/** What a query string may hold; undefined is left out. */
export type Query = Readonly<Record<string, string | number | undefined>>;

export interface IRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  query?: Query;
  /** What is sent as JSON. */
  body?: object;
  /** False for what a panel asks by itself, so that an open tab does not keep an idle server alive. */
  activity?: boolean;
}

/**
 * Call one route of the server extension.
 *
 * @param settings - The connection; its base URL may hold odd characters, which stay as they are.
 * @param path - The path segments below `jupyter-ext/api/v1`; each is encoded here.
 * @returns the parsed JSON; nothing where the server says nothing (204).
 * @throws ServerError
 */
export async function request<T>(
  settings: ServerConnection.ISettings,
  path: readonly string[],
  { method = 'GET', query = {}, body, activity = true }: IRequest = {}
): Promise<T> {
  const all: Query = { ...query, no_track_activity: activity ? undefined : 1 };
  const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  const url =
    URLExt.join(settings.baseUrl, PREFIX, ...path.map(encodeURIComponent)) + URLExt.objectToQueryString(given);
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(
      url,
      body ? { method, body: JSON.stringify(body) } : { method },
      settings
    );
  } catch (error) {
    throw new ServerError(error instanceof Error ? error.message : String(error), 0, 'unreachable');
  }
  const text = await response.text();
  if (!response.ok) {
    throw fromAnswer(response, text);
  }
  return (text ? JSON.parse(text) : undefined) as T;
}

function fromAnswer(response: Response, text: string): ServerError {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    // A proxy or an old server answered in HTML; the status is all that can be told.
    answer = null;
  }
  const { message, reason } = (answer ?? {}) as { message?: unknown; reason?: unknown };
  return new ServerError(
    typeof message === 'string' && message ? message : `${response.status} ${response.statusText}`.trim(),
    response.status,
    typeof reason === 'string' ? reason : 'error'
  );
}

/** Whatever was thrown, as an error that the panel can show. */
export function asServerError(error: unknown): ServerError {
  return error instanceof ServerError
    ? error
    : new ServerError(error instanceof Error ? error.message : String(error), 0, 'internal');
}
