"""Kaldi's mel-frequency cepstral coefficients."""

import dataclasses

import numpy as np

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.frontend import fourier
from speechrep.frontend.base import FrontEnd
from speechrep.frontend.filters import FilterBank
from speechrep.frontend.kaldi import EPSILON, FrameConfig, Spectrum, finish, mel_filters


@dataclasses.dataclass(frozen=True)
class MfccConfig(FrameConfig):
    """Options of Kaldi's compute-mfcc-feats, under their Kaldi names."""

    num_ceps: int = opt(13, "cepstral coefficients, with the 0th")
    use_energy: bool = opt(True, "put the log energy of the frame in place of the 0th coefficient")
    cepstral_lifter: float = opt(22.0, "how strongly higher coefficients are raised; 0 is none")


class Mfcc(FrontEnd):
    """Cepstra, (T, num_ceps), with deltas if the options say so."""

    def __init__(self, config: MfccConfig):
        super().__init__(config)
        bins, ceps = config.num_mel_bins, config.num_ceps
        if not 1 <= ceps <= bins:
            raise InputError(f"num-ceps is {ceps}, want 1 to num-mel-bins, {bins}")
        self._spectrum = Spectrum(config)
        self._filters = FilterBank(fourier.over_squares(mel_filters(config), config.padded_length))
        order = np.arange(ceps)
        cosine = np.sqrt(2 / bins) * np.cos(np.pi / bins * (np.arange(bins)[:, None] + 0.5) * order)
        cosine[:, 0] = np.sqrt(1 / bins)
        if config.cepstral_lifter:
            cosine *= 1 + 0.5 * config.cepstral_lifter * np.sin(np.pi * order / config.cepstral_lifter)
        self._cosine = cosine.astype(np.float32)  # discrete cosine transform and lifter in one
        self.dim = ceps * (config.delta_order + 1)
        self.sample_rate = int(config.sample_frequency)
        self.frame_shift_ms = 1000 * config.shift / config.sample_frequency

    def num_frames(self, num_samples: int) -> int:
        """See :class:`FrontEnd`."""
        return self._spectrum.num_frames(num_samples)

    def compute(self, samples: np.ndarray) -> np.ndarray:
        """See :class:`FrontEnd`."""
        config = self.config
        feats = np.empty((self.num_frames(len(samples)), config.num_ceps), np.float32)
        for start, spectra, log_energy in self._spectrum.blocks(samples, config.use_energy):
            mel = self._filters.apply(spectra)
            np.maximum(mel, EPSILON, out=mel)
            ceps = np.log(mel, out=mel) @ self._cosine
            if log_energy is not None:
                ceps[:, 0] = log_energy
            if config.htk_compat:
                # HTK puts the 0th last, and scales it unless it is the energy.
                ceps = np.roll(ceps, -1, axis=1)
                if log_energy is None:
                    ceps[:, -1] *= np.float32(np.sqrt(2))
            feats[start : start + len(ceps)] = ceps
        return finish(feats, config)
