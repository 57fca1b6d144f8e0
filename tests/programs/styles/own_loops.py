"""A validation before training, the best model deep-copied and restored, early stopping, numpy in between."""
import copy

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from torch import nn

torch.manual_seed(0)
X, Y = load_breast_cancer(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
x_train, x_val, y_train, y_val = map(torch.from_numpy, train_test_split(X, Y, random_state=0))
model = nn.Sequential(nn.Linear(30, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)


@torch.inference_mode()
def validate():
    model.eval()
    loss = nn.functional.cross_entropy(model(x_val), y_val).item()
    model.train()
    return loss


best, best_state, bad = validate(), copy.deepcopy(model), 0
for epoch in range(5):
    for rows in np.array_split(np.random.permutation(len(x_train)), 13):
        loss = nn.functional.cross_entropy(model(x_train[rows]), y_train[rows])
        model.zero_grad()
        loss.backward()
        optimizer.step()
    score = validate()
    if score < best:
        best, best_state, bad = score, copy.deepcopy(model), 0
    elif (bad := bad + 1) > 2:
        break
model.load_state_dict(best_state.state_dict())
print("best", best, validate())
