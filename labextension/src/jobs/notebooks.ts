import type { Contents, ServerConnection } from '@jupyterlab/services';
import { type ISignal, Signal } from '@lumino/signaling';
import type { JobsApi } from '../api/jobs';

const DRIVE = 'jupyter-ext-jobs';

/** Where the executed notebook of a job is to be found among the application's documents. */
export function notebookPath(id: string, name: string): string {
  return `${DRIVE}:${id}/${name.replace(/[/:\\]/g, '-')}.ipynb`;
}

/** The executed notebooks of jobs, as documents to read: nothing can be changed, and nothing lies on a disk. */
export class JobNotebooks implements Contents.IDrive {
  constructor(
    private readonly _api: Pick<JobsApi, 'notebook'>,
    readonly serverSettings: ServerConnection.ISettings
  ) {}

  readonly name = DRIVE;
  isDisposed = false;

  get fileChanged(): ISignal<this, Contents.IChangedArgs> {
    return this._fileChanged;
  }

  dispose(): void {
    this.isDisposed = true;
    Signal.clearData(this);
  }

  async get(path: string, options?: Contents.IFetchOptions): Promise<Contents.IModel> {
    const [id = '', name = ''] = path.split('/');
    const now = new Date().toISOString();
    const wanted = options?.content !== false;
    return {
      name,
      path,
      type: 'notebook',
      format: wanted ? 'json' : null,
      content: wanted ? complete(await this._api.notebook(id)) : null,
      mimetype: 'application/x-ipynb+json',
      writable: false,
      created: now,
      last_modified: now
    };
  }

  listCheckpoints(): Promise<Contents.ICheckpointModel[]> {
    return Promise.resolve([]);
  }

  readonly getDownloadUrl = readOnly;
  readonly newUntitled = readOnly;
  readonly delete = readOnly;
  readonly rename = readOnly;
  readonly save = readOnly;
  readonly copy = readOnly;
  readonly createCheckpoint = readOnly;
  readonly restoreCheckpoint = readOnly;
  readonly deleteCheckpoint = readOnly;

  private readonly _fileChanged = new Signal<this, Contents.IChangedArgs>(this);
}

/** JupyterLab adds what is missing here to a notebook that it opens, and then asks whether to save that. */
function complete(notebook: { readonly metadata?: object }): object {
  const missing = { kernelspec: { name: '', display_name: '' }, language_info: { name: 'python' } };
  return { ...notebook, metadata: { ...missing, ...notebook.metadata } };
}

function readOnly(): Promise<never> {
  return Promise.reject(new Error('What a job has run can only be read.'));
}
