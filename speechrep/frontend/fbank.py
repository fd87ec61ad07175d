"""Kaldi's log mel filter bank energies."""

import dataclasses

import numpy as np

from speechrep.config import opt
from speechrep.frontend import fourier
from speechrep.frontend.base import FrontEnd
from speechrep.frontend.filters import FilterBank
from speechrep.frontend.kaldi import EPSILON, FrameConfig, Spectrum, finish, mel_filters


@dataclasses.dataclass(frozen=True)
class FbankConfig(FrameConfig):
    """Options of Kaldi's compute-fbank-feats, under their Kaldi names."""

    use_energy: bool = opt(False, "add the log energy of the frame")
    use_log_fbank: bool = opt(True, "take the logarithm of the filters' output")
    use_power: bool = opt(True, "filter the power and not the magnitude")


class Fbank(FrontEnd):
    """Log mel energies, (T, num_mel_bins), with the frame's energy and deltas if the options say so."""

    def __init__(self, config: FbankConfig):
        super().__init__(config)
        self._spectrum, filters = Spectrum(config), mel_filters(config)
        if config.use_power:
            filters = fourier.over_squares(filters, config.padded_length)
        self._filters = FilterBank(filters)
        self._static = config.num_mel_bins + config.use_energy
        self.dim = self._static * (config.delta_order + 1)
        self.sample_rate = int(config.sample_frequency)
        self.frame_shift_ms = 1000 * config.shift / config.sample_frequency

    def num_frames(self, num_samples: int) -> int:
        """See :class:`FrontEnd`."""
        return self._spectrum.num_frames(num_samples)

    def compute(self, samples: np.ndarray) -> np.ndarray:
        """See :class:`FrontEnd`."""
        config = self.config
        feats = np.empty((self.num_frames(len(samples)), self._static), np.float32)
        # HTK puts the energy last, Kaldi first.
        first = 1 if config.use_energy and not config.htk_compat else 0
        for start, spectra, log_energy in self._spectrum.blocks(samples, config.use_energy):
            if not config.use_power:
                spectra = np.sqrt(fourier.power(spectra))
            mel = self._filters.apply(spectra)
            if config.use_log_fbank:
                np.maximum(mel, EPSILON, out=mel)
                np.log(mel, out=mel)
            feats[start : start + len(mel), first : first + config.num_mel_bins] = mel
            if log_energy is not None:
                feats[start : start + len(mel), 0 if first else -1] = log_energy
        return finish(feats, config)
