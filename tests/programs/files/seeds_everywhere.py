"""Seeds itself in every way there is and draws from each: "name value" lines, then training."""
import random

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, shuffle
from torch.utils.data import DataLoader, TensorDataset, random_split

random.seed(7)
np.random.seed(7)
torch.manual_seed(7)
print("torch", torch.rand(()).item())
print("numpy", np.random.rand())
print("random", random.random())
print("text", random.Random("seven").random())
print("Random", random.Random(7).random())
print("RandomState", np.random.RandomState(7).rand())
print("default_rng", np.random.default_rng(7).random())
print("list", np.random.default_rng([7, 8]).random())
print("SeedSequence", np.random.default_rng(np.random.SeedSequence(7).spawn(1)[0]).random())
print("PCG64", np.random.Generator(np.random.PCG64(7)).random())
print("MT19937", np.random.Generator(np.random.MT19937(7)).random())
print("Generator", torch.rand((), generator=torch.Generator().manual_seed(7)).item())
print("untouched", torch.rand((), generator=torch.Generator()).item())
print("unseeded_rng", np.random.default_rng().random())
print("unseeded_RandomState", np.random.RandomState().rand())
print("unseeded_Random", random.Random().random())
print("estimator", check_random_state(7).rand())
print("shuffle", shuffle(range(100), random_state=7)[:9])
with torch.random.fork_rng():
    torch.manual_seed(8)
    print("forked", torch.rand(()).item())
split = random_split(range(100), [90, 10], torch.Generator().manual_seed(7))
print("random_split", list(split[1]))
print("kept_split", train_test_split(range(100), random_state=7, test_size=9)[1])

order = np.random.RandomState(3)
x = torch.randn(256, 4)
loader = DataLoader(
    TensorDataset(x, x[:, :2].argmax(1)), batch_size=16, shuffle=True,
    generator=torch.Generator().manual_seed(3),
)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for features, labels in loader:
    noise = torch.from_numpy(order.normal(0, 0.1, features.shape).astype("f4"))
    loss = torch.nn.functional.cross_entropy(model(features + noise), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
