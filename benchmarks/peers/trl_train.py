"""python trl_train.py GGUF ROWS SETTINGS WORK: LoRA on rows of tokens with TRL's SFTTrainer, as its documentation does
it, but without gradient checkpointing, which would only make it slower here. Prints one line of JSON.

ROWS: JSON of {"train": [[ids, number of answer tokens], ...], "heldout": [...]}. SETTINGS: the recipe as JSON.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from trl import SFTConfig, SFTTrainer


def prepare(base: Path, rows: list, settings: dict, work: str) -> "SFTTrainer":  # type: ignore[type-arg]
    """Set up, not yet started. `rows`: of the training split."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(str(base.parent), gguf_file=base.name)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    dtype = torch.bfloat16 if settings["precision"] == "bfloat16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(base.parent), gguf_file=base.name, dtype=dtype)
    model.is_quantized = False  # its weights are plain numbers by now; the trainer goes by the file's format
    lora = LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["target_modules"],
        task_type="CAUSAL_LM",
    )
    return SFTTrainer(
        model=model,
        args=config_of(settings, work),
        train_dataset=Dataset.from_list([labelled(row) for row in rows]),
        processing_class=tokenizer,
        peft_config=lora,
    )


def labelled(row: list) -> dict:  # type: ignore[type-arg]
    ids, num_answer = row
    return {"input_ids": ids, "labels": [-100] * (len(ids) - num_answer) + ids[-num_answer:]}


def config_of(settings: dict, work: str) -> "SFTConfig":  # type: ignore[type-arg]
    from trl import SFTConfig

    return SFTConfig(
        output_dir=work,
        num_train_epochs=settings["num_epochs"],
        per_device_train_batch_size=settings["device_rows"],
        gradient_accumulation_steps=settings["batch_rows"] // settings["device_rows"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type="linear",
        warmup_steps=settings["warmup_share"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_gradient_norm"],
        seed=settings["seed"],
        bf16=settings["precision"] == "bfloat16",
        use_cpu=True,
        gradient_checkpointing=False,
        max_length=None,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def heldout_loss(model: "torch.nn.Module", rows: list) -> float:  # type: ignore[type-arg]
    """Mean over the answers' tokens, in nats."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for ids, num_answer in rows:
            tokens = torch.tensor([ids])
            logits = model(input_ids=tokens, logits_to_keep=num_answer + 1).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, tokens[0, -num_answer:], reduction="sum").item()
            count += num_answer
    return total / count


def main() -> None:
    import torch

    base, rows, settings = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), json.loads(sys.argv[3])
    torch.set_num_threads(settings["threads"])
    trainer = prepare(base, rows["train"], settings, sys.argv[4])
    started, started_cpu = time.perf_counter(), time.process_time()
    trainer.train()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    loss = heldout_loss(trainer.model.eval(), rows["heldout"])
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "heldout_loss": loss, "peak_bytes": peak}))


main()
