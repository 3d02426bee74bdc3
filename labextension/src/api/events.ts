import { EventManager, type Event, type ServerConnection } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

/** The id of a noun's event schema. */
export function eventSchema(noun: string): string {
  return `https://jupyter-ext.readthedocs.io/events/${noun}/v1`;
}

/** A stream of one noun's events that says whether it is connected. */
export interface IEventStream<T> extends IDisposable {
  /** Whether events arrive now. While they do not, what was shown may be out of date. */
  readonly connected: boolean;
  readonly connectedChanged: ISignal<IEventStream<T>, boolean>;
  readonly received: ISignal<IEventStream<T>, T>;
}

/**
 * The server's event stream, narrowed to one schema.
 *
 * The application's own `serviceManager.events` does not tell when its socket opens or closes, and a panel that must not
 * poll has to know that. So this is an event manager of the same class whose socket is watched.
 */
export class EventStream<T> implements IEventStream<T> {
  constructor(schema: string, settings: ServerConnection.ISettings) {
    this._manager = new EventManager({
      serverSettings: { ...settings, WebSocket: watched(settings.WebSocket, open => this._setConnected(open)) }
    });
    this._manager.stream.connect((_, emission: Event.Emission) => {
      if (emission.schema_id === schema) {
        this._received.emit(emission as unknown as T);
      }
    });
  }

  get connected(): boolean {
    return this._connected;
  }

  get connectedChanged(): ISignal<this, boolean> {
    return this._connectedChanged;
  }

  get received(): ISignal<this, T> {
    return this._received;
  }

  get isDisposed(): boolean {
    return this._manager.isDisposed;
  }

  dispose(): void {
    this._manager.dispose();
    Signal.clearData(this);
  }

  private _setConnected(connected: boolean): void {
    if (connected !== this._connected && !this.isDisposed) {
      this._connected = connected;
      this._connectedChanged.emit(connected);
    }
  }

  private _connected = false;
  private readonly _connectedChanged = new Signal<this, boolean>(this);
  private readonly _received = new Signal<this, T>(this);
  private readonly _manager: EventManager;
}

function watched(base: typeof WebSocket, changed: (open: boolean) => void): typeof WebSocket {
  return class extends base {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener('open', () => changed(true));
      this.addEventListener('close', () => changed(false));
    }
  };
}
