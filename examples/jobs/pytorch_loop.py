"""PyTorch: what goes on exactly where it was needs the model, the optimizer and the random numbers.

Submit it with ``%submit_job examples/jobs/pytorch_loop.py --fetch weights --wait``, or run it with Python.
"""

import torch
from sklearn.datasets import load_digits

from jupyter_ext.jobs import checkpoint, progress

torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
X, y = (torch.tensor(part, device=device) for part in load_digits(return_X_y=True))
X = X.float() / 16
model = torch.nn.Sequential(
    torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(64, 10)
).to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
epochs = 10

start = 0
if saved := checkpoint.latest():
    model.load_state_dict(saved.state["model"])
    optimizer.load_state_dict(saved.state["optimizer"])
    torch.set_rng_state(saved.state["random"])
    if device == "cuda":
        torch.cuda.set_rng_state(saved.state["random_on_gpu"])
    start = saved.step + 1

for epoch in range(start, epochs):
    for batch in torch.randperm(len(X)).to(device).split(64):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(X[batch]), y[batch])
        loss.backward()
        optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": torch.get_rng_state()}
    if device == "cuda":
        state["random_on_gpu"] = torch.cuda.get_rng_state()
    checkpoint.save(epoch, state)
    progress(epoch + 1, epochs, loss=loss.item())

weights = {name: tensor.cpu().numpy() for name, tensor in model.state_dict().items()}
