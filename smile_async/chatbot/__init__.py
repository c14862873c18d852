"""The dialogue system of section 6: training sessions, fine-tuning, chat, automatic and human evaluation."""
