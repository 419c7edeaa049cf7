"""What to read aloud when recording in the page: short sentences that together cover the sounds of English.

Written for this product, so that they may be shown, said and kept freely.
"""

from __future__ import annotations

SENTENCES: tuple[str, ...] = (
    "Every evening the harbour lights came on, one by one, above the quiet water.",
    "Could you bring me the blue jug from the shelf beside the kitchen window?",
    "Thirty-three thick feathers lay on the path that leads through the orchard.",
    "My uncle usually measures twice, then cuts the wood with great pleasure.",
    "Wait, don't go yet! I have just remembered where we left the key.",
    "She chose five cheap chairs and a huge yellow lamp for the new office.",
    "Nothing about the journey was easy, but the view from the bridge was worth it.",
    "A young fox jumped over the low wall and vanished into the wet grass.",
    "How long does the bus to the airport take when the roads are icy?",
    "He whispered the answer, and then he laughed so loudly that everyone turned round.",
    "The choir sang softly at first; by the last verse the whole square was singing.",
    "Please put both boxes of oranges down there, next to the garden door.",
    "Joyful voices rose from the boat as it drifted slowly out of the fog.",
    "We bought warm bread, sharp cheese and a jar of very sweet plum jam.",
    "In the year eighteen forty-seven the river froze from bank to bank.",
    "Is that really your final offer? I think we ought to talk about it again.",
    "The engineer pushed the heavy lever, and with a deep hum the wheel began to turn.",
    "Few people noticed the small painting, though it was the finest in the room.",
    "Good morning, and thank you for calling; how may I help you today?",
    "Under the old oak, three children were building a castle out of mud and sticks.",
    "What a beautiful noise the rain makes on a tin roof in the middle of the night!",
    "Turn left at the church, go straight on for two miles, and stop at the mill.",
    "Their brother would rather cook for fourteen guests than wash a single spoon.",
    "Slowly, very slowly, she counted backwards: nine, eight, seven, six, five.",
    "Sing one long, easy note as low as is comfortable, and let it fade away.",
    "Now sing a note in the middle of your voice, and slide gently up and down again.",
    "Sing one high note that you like, bright but never forced, and hold it.",
    "Vicious gusts shook the shutters while we sat by the fire, playing cards.",
    "The thought of another rough voyage made both of the sailors shudder.",
    "That is all for today; close the book, breathe out, and enjoy the silence.",
)
