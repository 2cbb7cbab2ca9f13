"""What the islanders say to each other: short exchanges by tone, first line by the one who began.

`{you}` is the other's first name, `{place}` where they are ("at the pool"). Values and one choice.
"""

from __future__ import annotations

import random

TONES = ("small_talk", "flirt", "deep", "tease", "quarrel")

_EXCHANGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "small_talk": (
        ("Did you sleep at all, {you}?", "Four hours. The frogs won.", "Tomorrow I talk to the frogs."),
        ("Is there coffee left?", "There is always coffee left if you ask nicely.", "Nicely, then."),
        ("Who moved the flamingo?", "It moves by itself. We agreed not to speak of it.", "Right. Of course."),
        ("I could stay {place} all day.", "You have stayed {place} all day.", "See, it works."),
        ("What is for dinner?", "I thought you were cooking, {you}.", "So did I, until just now."),
        (
            "Do you hear the sea from your bed?",
            "Only when nobody snores.",
            "That was aimed at me, wasn't it?",
        ),
        ("The lemon tree has a new leaf.", "You count the leaves?", "Somebody has to."),
        ("Whose turn is it to do the dishes?", "Not mine since Tuesday.", "It is Tuesday, {you}."),
        ("I found a shell shaped like an ear.", "What does it hear?", "Gossip, mostly."),
        ("Teach me one word of your language.", "Start with 'slowly'.", "Say it slowly."),
        ("Is that rain?", "That is the pool pump.", "I preferred the rain."),
        ("You were up early.", "The sea was too loud to sleep through.", "Take me along next time."),
        ("Show me that song again.", "Only if you sing along.", "I sing like a door.", "I like doors."),
    ),
    "flirt": (
        (
            "You look like trouble today, {you}.",
            "Good trouble or bad trouble?",
            "I was hoping you'd show me.",
        ),
        ("I kept you the last fig.", "You did not. You ate half.", "The better half is yours."),
        ("Walk with me later?", "How much later?", "Five minutes. Four."),
        ("You were in my dream.", "What did I do?", "You laughed at my joke. So I knew it was a dream."),
        ("Your hands are cold.", "Then hold them properly.", "Like this?", "Like that."),
        ("Stop smiling like that.", "Like what?", "Like you know something.", "I know one thing, {you}."),
        ("Save me a dance tonight?", "I saved you all of them.", "Then I had better learn to dance."),
        ("Stay a little longer.", "Everybody is waiting.", "Let them. The stars are late as well."),
        ("If there were one rose left...", "Say it.", "I wouldn't have to think, {you}."),
    ),
    "deep": (
        ("Are you happy here?", "Ask me when the cameras sleep.", "They never sleep.", "Then: nearly."),
        ("What do you miss most?", "My sister's terrible driving.", "That is the best answer I have heard."),
        ("I am scared of Thursday.", "Because of the ceremony?", "Because I already know what I want."),
        (
            "Do you believe people change {place}?",
            "I think they just stop hiding.",
            "That is worse. And better.",
        ),
        (
            "Why did you really come?",
            "To find out if I still could.",
            "Could what?",
            "Say what I feel. Like now.",
        ),
        ("I like who I am next to you.", "Who is that?", "Somebody who does not look at the clock."),
        ("My father would like you.", "Would he tell me?", "Never. He would repair your bicycle."),
    ),
    "tease": (
        ("You call that swimming?", "I call it drifting with style.", "The style drowned."),
        (
            "I saw you practise that speech in the mirror.",
            "The mirror loved it.",
            "The mirror is polite, {you}.",
        ),
        (
            "Bet you can't last a minute in a plank.",
            "Bet you can't last one without talking.",
            "...",
            "Nine seconds.",
        ),
        ("Is that my shirt?", "It was. It looks happier now.", "It does, annoyingly."),
        ("That was your third breakfast.", "Second and a half.", "I stand corrected, and hungry."),
        (
            "Nice moves yesterday.",
            "You were watching?",
            "Everyone was watching. The neighbours were watching.",
        ),
        ("You cheated at cards.", "I out-thought you at cards.", "With six aces, {you}?"),
    ),
    "quarrel": (
        (
            "You talked about me, {you}.",
            "I said nothing I wouldn't tell you.",
            "Then tell me.",
            "Not like this.",
        ),
        ("Was that for me or for the cameras?", "Do you have to ask?", "Yes. That is the trouble."),
        ("You were with somebody else all evening.", "I was doing the dishes.", "With somebody else."),
        ("You promised you would be there.", "I was ten minutes late.", "You were one song late, {you}."),
        ("Don't tell me to calm down.", "I told you to sit down.", "It sounded the same."),
    ),
}


class Repertoire:
    """Deals exchanges like cards, so that nothing is said again before everything of its tone was said."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._decks: dict[str, list[tuple[str, ...]]] = {tone: [] for tone in TONES}

    def exchange(self, tone: str, you: str, me: str, place: str) -> list[str]:
        """The lines of the next exchange, spoken in turn, names and place filled in.

        Args:
            tone: one of `TONES`.
            you: first name of the one who is spoken to first.
            me: first name of the one who begins.
            place: where they are, like "at the pool".
        """
        deck = self._decks[tone]
        if not deck:
            deck.extend(_EXCHANGES[tone])
            self._rng.shuffle(deck)
        return [
            line.format(you=you if index % 2 == 0 else me, place=place)
            for index, line in enumerate(deck.pop())
        ]


ROSE_LINES = (
    "{you}, will you take this rose?",
    "I didn't have to think long. {you}?",
    "This one is for the person who makes me laugh: {you}.",
    "{you}. It was always going to be you.",
    "I was wrong about you, {you}. Take it, please.",
)
"""What is said with a rose."""
