"""Cross-validation: five models, one after the other."""
import torch
from sklearn.datasets import load_wine
from sklearn.model_selection import KFold
from torch import nn

x, y = load_wine(return_X_y=True)
x = torch.tensor(x, dtype=torch.float32)
x, y = (x - x.mean(0)) / x.std(0), torch.tensor(y)
scores = []
for fold, (train, test) in enumerate(KFold(5, shuffle=True, random_state=0).split(x)):
    torch.manual_seed(fold)
    model = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(6):
        for rows in torch.from_numpy(train)[torch.randperm(len(train))].split(16):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        scores.append((model(x[test]).argmax(1) == y[test]).float().mean().item())
    print(fold, scores[-1])
