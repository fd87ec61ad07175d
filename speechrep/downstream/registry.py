"""The downstream tasks by name."""

from speechrep.downstream import asr, asr_config, asr_decode, phone, sentiment, speaker
from speechrep.downstream.base import Kind, NoOptions
from speechrep.downstream.inside import with_upstream

TASKS: dict[str, Kind] = {
    "phone": with_upstream(Kind(phone.PhoneConfig, phone.build, phone.load, phone.decode, NoOptions)),
    "speaker": with_upstream(
        Kind(speaker.SpeakerConfig, speaker.build, speaker.load, speaker.decode, NoOptions)
    ),
    "asr": with_upstream(
        Kind(
            asr_config.AsrConfig,
            asr.AsrTask,
            asr.load,
            asr_decode.decode,
            asr_config.AsrDecodeConfig,
            asr_decode.merge,
        )
    ),
    "sentiment": with_upstream(
        Kind(sentiment.SentimentConfig, sentiment.SentimentTask, sentiment.load, sentiment.decode, NoOptions)
    ),
}
