"""Dataset in, Dataset out: what ensembles say, with standard errors from independent replicas."""

from __future__ import annotations

from thermosim.analysis.alignment import (
    alignment,
    gram_cosine,
    mutual_nearest_neighbours,
    permutation_null,
    unbiased_cka,
    unbiased_hsic,
)
from thermosim.analysis.alignment_growth import alignment_growth
from thermosim.analysis.canonical_law import canonical_law
from thermosim.analysis.comparison import Comparison, judge
from thermosim.analysis.direction_law import direction_law
from thermosim.analysis.entropic_loss import entropic_loss_order
from thermosim.analysis.entropic_parts import entropic_parts
from thermosim.analysis.entropy import angle_entropy, cap_entropy
from thermosim.analysis.feedback import feedback_efficacy
from thermosim.analysis.free_energy import free_energy
from thermosim.analysis.fresh_work import work_of_fresh_samples
from thermosim.analysis.gradient_noise import noise_statistics
from thermosim.analysis.handover import reduced_potentials, table, to_arviz, work_values
from thermosim.analysis.ideal_gas import (
    drift,
    free_energy_maps,
    maxwell,
    radius_fluctuations,
    radius_transient,
    thermodynamics,
)
from thermosim.analysis.ideal_learning import ideal_learning, joint_entropy
from thermosim.analysis.information import learned_information, low_variance
from thermosim.analysis.information_balance import information_balance, routes
from thermosim.analysis.kernel_alignment import kernel_alignment
from thermosim.analysis.latent_bounds import latent_bounds
from thermosim.analysis.learning import detailed, fluctuation_theorems, learning_ledger, relaxation, retrace
from thermosim.analysis.learning_curves import learning_curves
from thermosim.analysis.machine import machines
from thermosim.analysis.matrix_balance import matrix_balance
from thermosim.analysis.memorised_information import data_processing, dataset_information, memory
from thermosim.analysis.network_alignment import alignment_in_time, network_alignment, probe_inputs
from thermosim.analysis.network_entropy import network_entropy
from thermosim.analysis.network_gas import network_gas
from thermosim.analysis.network_noise import network_noise
from thermosim.analysis.orbit import orbit, orbit_of_loss
from thermosim.analysis.partial_averages import averaged_work_and_heat, partial_entropies
from thermosim.analysis.path_information import path_information
from thermosim.analysis.reservoir import clausius, naive_reservoir
from thermosim.analysis.rotation import rotation
from thermosim.analysis.sphere_entropy import sphere_entropy
from thermosim.analysis.theta_entropy import pathwise_clausius, theta_fluctuation_theorem
from thermosim.analysis.training import curvature, training
from thermosim.analysis.uncertainty import circulation, forward_steps, uncertainty
from thermosim.analysis.update_energy import update_energy
from thermosim.analysis.work import (
    crooks,
    entropy_production,
    heat_currents,
    integral_fluctuation_theorem,
    jarzynski,
    work_and_heat,
)

__all__ = [
    "Comparison",
    "alignment",
    "alignment_growth",
    "alignment_in_time",
    "angle_entropy",
    "averaged_work_and_heat",
    "canonical_law",
    "cap_entropy",
    "circulation",
    "clausius",
    "crooks",
    "curvature",
    "data_processing",
    "dataset_information",
    "detailed",
    "direction_law",
    "drift",
    "entropic_loss_order",
    "entropic_parts",
    "entropy_production",
    "feedback_efficacy",
    "fluctuation_theorems",
    "forward_steps",
    "free_energy",
    "free_energy_maps",
    "gram_cosine",
    "heat_currents",
    "ideal_learning",
    "information_balance",
    "integral_fluctuation_theorem",
    "jarzynski",
    "joint_entropy",
    "judge",
    "kernel_alignment",
    "latent_bounds",
    "learned_information",
    "learning_curves",
    "learning_ledger",
    "low_variance",
    "machines",
    "matrix_balance",
    "maxwell",
    "memory",
    "mutual_nearest_neighbours",
    "naive_reservoir",
    "network_alignment",
    "network_entropy",
    "network_gas",
    "network_noise",
    "noise_statistics",
    "orbit",
    "orbit_of_loss",
    "partial_entropies",
    "path_information",
    "pathwise_clausius",
    "permutation_null",
    "probe_inputs",
    "radius_fluctuations",
    "radius_transient",
    "reduced_potentials",
    "relaxation",
    "retrace",
    "rotation",
    "routes",
    "sphere_entropy",
    "table",
    "thermodynamics",
    "theta_fluctuation_theorem",
    "to_arviz",
    "training",
    "unbiased_cka",
    "unbiased_hsic",
    "uncertainty",
    "update_energy",
    "work_and_heat",
    "work_of_fresh_samples",
    "work_values",
]
