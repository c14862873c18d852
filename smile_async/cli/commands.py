"""The commands by name: `smile --help` needs their first lines, and only the one that is called is imported.

The first line of a command's help stands here and in its docstring; a test compares them.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
import typer.core
import typer.main

RUNS, DATA, CORPUS, CHATBOT, SERVERS = "Runs", "Data", "Corpus", "Dialogue system", "Servers"


@dataclass(frozen=True, slots=True)
class Named:
    """Where a command is defined (`smile_async.cli.` + `module`, with `register(app)`), and what help says of it."""

    module: str
    panel: str
    help: str


# One line a command, in the order of the help.
# fmt: off
COMMANDS: dict[str, Named] = {
    "generate": Named("runs", RUNS, "Make a validated dialogue of every row, kept in RUN; the same command again goes on."),
    "resume": Named("runs", RUNS, "Go on with a run that was stopped or killed; limits may be other ones."),
    "retry": Named("runs", RUNS, "Ask again for the rows that were set aside, with fresh budgets."),
    "status": Named("state", RUNS, "Rows by state and reason, spend, rates and time left, also while the run goes on."),
    "control": Named("state", RUNS, "Steer a run that is at work: pause it, let it go on, change its concurrency."),
    "revalidate": Named("runs", RUNS, "Judge the replies that were paid for by other rules, without asking anybody."),
    "plan": Named("plan", RUNS, "Tokens, cost and time before they are spent, and the limit that binds."),
    "batch": Named("batches", RUNS, "A run's rows through OpenAI's Batch API, or as a file for vllm run-batch."),
    "prepare": Named("corpus", DATA, "Clean a source as Appendix A says: word list, review of 抱抱, 1,800 characters."),
    "sample": Named("corpus", DATA, "PsyQA*: distinct questions, one answer each drawn at random (section 4.1)."),
    "export": Named("corpus", DATA, "Write a corpus in a format that trainers read: the accepted dialogues of a run, or any other."),
    "recipes": Named("corpus", DATA, "The built-in recipes; with a name, that recipe's TOML."),
    "stats": Named("stats", CORPUS, "Count a corpus as Tables 3 and 6 do: dialogues, sentences, utterances, turns, lengths."),
    "check": Named("check", CORPUS, "What is wrong in a corpus: near-duplicates, copies, loops, contact data, leaked labels."),
    "diversity": Named("diversity", CORPUS, "How varied the words of a corpus are: distinct-1/2/3 (Table 1)."),
    "embed": Named("embed", CORPUS, "QAs and dialogues as vectors, by any /v1/embeddings or the embedded model."),
    "topics": Named("topics", CORPUS, "The topics of a corpus's dialogues: annotated by a model, counted, and their entropy (Table 2)."),
    "compare": Named("diversity", CORPUS, "Sets side by side: Tables 1 and 3, Figures 4 and 5 with --vectors, Table 2 with --topics."),
    "report": Named("report", CORPUS, "One HTML page about a run or a corpus: spend, rates, rejections, figures, dialogues to read."),
    "reproduce": Named("reproduce", CORPUS, "The paper's whole study (sections 3 to 5): three methods, all analyses; the same command again goes on."),
    "sft": Named("training", CHATBOT, "Training sessions of a corpus, one a counselor utterance with its own dialogue's history (section 6.1)."),
    "psytest": Named("psytest", CHATBOT, "A test set from real transcripts: anonymised as a person decides, parted into cases (Table 6)."),
    "train": Named("training", CHATBOT, "Fine-tune a base model with LoRA on sessions, with Table 4's values; the same command again goes on."),
    "merge": Named("training", CHATBOT, "Merge an adapter into its base as one model (safetensors), or write it as GGUF for llama.cpp."),
    "chat": Named("chat", CHATBOT, "Talk to a counselor model in the terminal: an endpoint's, a local one, or one that you trained."),
    "respond": Named("respond", CHATBOT, "A model's answers to test cases, kept in RUN; the same command again goes on."),
    "evaluate": Named("evaluate", CHATBOT, "METEOR, BLEU, ROUGE-L, distinct-n and BERTScore of systems' responses, with intervals (Table 5)."),
    "ballot": Named("human", CHATBOT, "Draw cases and write blinded ballots: several systems' responses, to be compared by people."),
    "vote": Named("human", CHATBOT, "Serve the labelling page on this machine: each rater opens the link that is printed for them."),
    "tally": Named("human", CHATBOT, "Count votes: majorities, win and loss rates, Fleiss' kappa, position bias (Figure 6)."),
    "label-studio": Named("human", CHATBOT, "Ballots as a Label Studio project, and its annotations back as votes."),
    "reproduce-chatbot": Named("reproduce_chatbot", CHATBOT, "Section 6 in one command: sessions, LoRA, answers, Table 5, ballots; the same command again goes on."),
    "local": Named("servers", SERVERS, "Serve a model on this machine (llama.cpp), OpenAI-compatible, until Ctrl-C."),
    "simulate": Named("servers", SERVERS, "Serve a simulated OpenAI-compatible endpoint with limits and faults."),
}
# fmt: on


class CommandTable(typer.core.TyperGroup):
    """A group whose commands are names and first lines until one is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, one in COMMANDS.items():
            self.add_command(typer.core.TyperCommand(name, help=one.help, rich_help_panel=one.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            self.add_command(command_of(args[0]))
        return super().resolve_command(ctx, args)


def command_of(name: str) -> Any:
    """The command itself, with its flags. `KeyError` when there is none of that name."""
    there = typer.Typer(callback=lambda: None)  # a group also where a module has a single command
    import_module(f"smile_async.cli.{COMMANDS[name].module}").register(there)
    return typer.main.get_group(there).commands[name]
