"""One QA in, one dialogue out: the pieces by hand, without a run folder.

    python examples/one_dialogue.py                        # asks a simulated endpoint
    python examples/one_dialogue.py --base-url http://localhost:8000/v1 --model NAME

For more than a handful use `generate_corpus`: it keeps what was paid for.
"""

import argparse
import asyncio
import os

from pydantic import SecretStr

from smile_async import Failure, Message, QAPair, Request, load_recipe
from smile_async.dialogue.parse import Valid, judge
from smile_async.provider.chat import ChatProvider
from smile_async.simulate import SimulatorServer, SimulatorSettings

PAIR = QAPair(
    question="换了新工作以后总是睡不着，怎么办？",
    description="入职一个月，每天晚上都在想白天有没有说错话。",
    answer="到了新环境，担心自己表现不好是很自然的。可以把白天的事写下来，写完就合上本子，告诉自己明天再想。",
)


async def dialogue_from(base_url: str, model: str) -> None:
    recipe = load_recipe("smile")
    key = os.environ.get("OPENAI_API_KEY")
    provider = ChatProvider(base_url=base_url, model=model, api_key=SecretStr(key) if key else None)
    messages = tuple(Message(role, content) for role, content in recipe.render(PAIR))
    reply = await provider.ask(Request(messages))
    await provider.aclose()
    if isinstance(reply, Failure):
        raise SystemExit(f"{reply.kind}: {reply.detail}")
    verdict = judge(reply.text, form=recipe.format, finish_reason=reply.finish_reason, source=PAIR)
    if not isinstance(verdict, Valid):
        raise SystemExit(f"the answer breaks a rule: {verdict.code} ({verdict.detail})")
    for said in verdict.dialogue.utterances:
        print(f"{said.role}: {said.content}")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url")
    parser.add_argument("--model", default="simulated")
    arguments = parser.parse_args()
    if arguments.base_url:
        await dialogue_from(arguments.base_url, arguments.model)
        return
    async with SimulatorServer(SimulatorSettings(seed=1)) as server:
        await dialogue_from(server.base_url, arguments.model)


if __name__ == "__main__":
    asyncio.run(main())
