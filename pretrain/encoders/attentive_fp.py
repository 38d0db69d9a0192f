"""AttentiveFP, the local view: what an atom learns from its neighbours, bond by bond.

n molecules, a atoms, e directed edges, h width.
    atoms (a, 39), edges (2, e), bonds (e, 10), atom_molecule (a,)  ->  atoms (a, h), molecules (n, h)

After Xiong et al. 2020 (J. Med. Chem. 63, 8749), in torch-geometric's implementation: a first layer that
reads bonds (GATEConv), further attention layers, each followed by a GRU, then T attentive readout steps.
Here the atoms' states are returned too (fusion stages attend over them), and the molecule's vector is the
readout itself: the library's last linear layer is the projection head's work.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import dropout, elu_, leaky_relu_
from torch_geometric.nn import global_add_pool
from torch_geometric.nn.models import AttentiveFP

from pretrain.config import ModelConfig
from sharding.feature_table import ATOM_INPUTS, BOND_INPUTS


class LocalEncoder(AttentiveFP):
    """The library's layers and names; its forward in two parts."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            in_channels=ATOM_INPUTS,
            hidden_channels=config.graph_hidden,
            out_channels=config.graph_hidden,
            edge_dim=BOND_INPUTS,
            num_layers=config.local_layers,
            num_timesteps=config.local_readout_steps,
            dropout=config.dropout,
        )
        del self.lin2

    def reset_parameters(self) -> None:
        """Called by the library's constructor, before `lin2` is dropped."""
        if hasattr(self, "lin2"):
            super().reset_parameters()

    def forward(
        self,
        atoms: Float[Tensor, "a 39"],
        edges: Int[Tensor, "2 e"],
        bonds: Float[Tensor, "e 10"],
        atom_molecule: Int[Tensor, " a"],
        size: int,
    ) -> tuple[Float[Tensor, "a h"], Float[Tensor, "n h"]]:
        """States of all atoms, and one vector a molecule."""
        states = leaky_relu_(self.lin1(atoms))
        messages = elu_(self.gate_conv(states, edges, bonds))
        states = self.gru(self._drop(messages), states).relu_()
        for attention, memory in zip(self.atom_convs, self.atom_grus, strict=True):
            messages = elu_(attention(states, edges))
            states = memory(self._drop(messages), states).relu_()
        return states, self._readout(states, atom_molecule, size)

    def _readout(self, states: Tensor, atom_molecule: Tensor, size: int) -> Tensor:
        belongs = torch.stack([torch.arange(len(atom_molecule), device=states.device), atom_molecule])
        molecules = global_add_pool(states, atom_molecule, size=size).relu_()
        for _ in range(self.num_timesteps):
            messages = elu_(self.mol_conv((states, molecules), belongs))
            molecules = self.mol_gru(self._drop(messages), molecules).relu_()
        return molecules

    def _drop(self, messages: Tensor) -> Tensor:
        return dropout(messages, p=self.dropout, training=self.training)
