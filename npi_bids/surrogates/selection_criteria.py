"""Criteria by which held-out data choose between surrogates, and the grids they choose from.

A gain is the fraction by which the held-out mean squared error must fall for the alternative to
replace the simpler model. None of the values is published; ``python -m benchmarks.accuracy`` and
``python -m benchmarks.calibration`` show their effect in systems with known connectivity.
"""

from __future__ import annotations

# A ridge VAR replaces the Ornstein-Uhlenbeck process, which has the better foundation.
VAR_GAIN = 0.002
# Mean correlation of regions with their last sample below which signals are no samples of a
# continuous process, whose memory would have to vanish within a sample; the VAR is taken then.
MIN_AUTOCORRELATION = 0.05
# A first residual network justifies training the others of the ensemble.
FIRST_NETWORK_GAIN = 0.001
# The ensemble of residual networks is added to the linear model.
NETWORKS_GAIN = 0.005
# Networks must gain more by this margin than an early-stopped linear map of the same residual; and
# in folds of time, over the better of the linear part and that map, this much and so many standard
# errors, which come from means of blocks of time.
TWIN_MARGIN = 0.002
N_BENEFIT_FOLDS, N_BENEFIT_BLOCKS = 5, 40
NETWORKS_BENEFIT, NETWORKS_BENEFIT_ERRORS = 0.003, 3.0
# A region's memory of its own past is extended by one sample.
MEMORY_GAIN = 0.01
# The prior variance of pairs of regions follows their partial correlations.
CONCENTRATION_GAIN = 0.001
# Held-out error, as a share of the variance, above which errors hardly tell models apart: there,
# precisions are chosen by likelihood, pairs of regions have equal prior variances, and a VAR must
# gain this share of the error, or as many nats per sample of a region. Weakly coupled discrete
# systems gain up to 4 % and .016 nats, slowly sampled continuous ones at most .8 % and .003 nats.
MOST_TELLING_ERROR, CLEAR_VAR_GAIN, CLEAR_VAR_LIKELIHOOD = 0.9, 0.01, 0.005
# The autoregression common to all regions is extended by one lag.
WHITENING_GAIN = 0.005
# Lagged evidence below this is explained by sampling error (whose expectation is 1).
ABSENT_EVIDENCE = 1.3
# Regions that an observation model needs: with fewer, delays absorb the direction of connections.
MIN_OBSERVATION_REGIONS = 10
# Evidence (nats) that delays, and measurement noise, need.
DELAY_EVIDENCE = 12.0
NOISE_EVIDENCE = 12.0
# Delays are also taken with a higher one-step error (strong priors, which predict best, are
# not those of highest evidence) where evidence and log likelihood of held-out stretches over those
# without delays are in sum above so many nats per sample of a region. The fraction by which the
# error may be higher is proportional to the held-out likelihood over that of a VAR of one lag, in
# the same units, up to a maximum: discrete dynamics look like delays, and the VAR knows them.
CLEAR_DELAY_EVIDENCE = 0.003
DELAY_TOLERANCE_PER_NAT, MAX_DELAY_TOLERANCE = 2.5, 0.05

# Share of the error of a linear model that cubes of the last sample take away, above which delays
# and a common gain, which are read as those of a linear process, are not looked for: above .04 in
# strongly coupled networks, at most .02 in all other systems and in real scans.
MOST_NONLINEARITY = 0.035

# Fraction of the windows used for training if the caller holds none out.
TRAIN_FRACTION = 0.8
# Stretches of time: two train and two validate, then vice versa.
N_STRETCHES = 4
# Largest number of regions on which choices are made, evenly spaced if there are more. The
# observation model, whose fits take longest, has few numbers that depend on how many there are;
# precisions, and how well a VAR predicts, depend on it more.
MOST_REGIONS = 64
MOST_OBSERVED_REGIONS = 40
# Iterations of a fit that only compares choices.
COMPARISON_ITERATIONS = 40
# Precisions of the prior on the drift, from strong to weak; in units of (drift per sample)^-2.
PRECISIONS = tuple(10.0 ** (half_decades / 2) for half_decades in range(10, 1, -1))
# Shares of the prior variance of pairs of regions that follow their partial correlations.
CONCENTRATIONS = (0.5, 0.9, 0.99)
# Largest ratio of the precisions of the antisymmetric and the symmetric part of the drift.
LARGEST_PRECISION_RATIO = 100.0
